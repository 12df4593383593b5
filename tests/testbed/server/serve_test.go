package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func serving(t *testing.T, settings Settings) (*Server, *httptest.Server) {
	t.Helper()
	server, err := NewServer(settings)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server.Handler())
	t.Cleanup(web.Close)
	return server, web
}

func status(t *testing.T, url string) int {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

func expectStatus(t *testing.T, expected int, url string) {
	t.Helper()
	if got := status(t, url); got != expected {
		t.Errorf("%s: want %d, got %d", url, expected, got)
	}
}

func TestReadinessComesAfterItsDelay(t *testing.T) {
	_, web := serving(t, Settings{ReadyDelay: 100 * time.Millisecond})
	expectStatus(t, 503, web.URL+"/readyz")
	expectStatus(t, 503, web.URL+"/")
	expectStatus(t, 200, web.URL+"/livez")
	time.Sleep(150 * time.Millisecond)
	expectStatus(t, 200, web.URL+"/readyz")
}

func TestReadinessFollowsTheDependency(t *testing.T) {
	_, dependency := serving(t, Settings{})
	_, web := serving(t, Settings{Dependency: dependency.URL + "/readyz"})
	expectStatus(t, 200, web.URL+"/readyz")
	dependency.Close()
	expectStatus(t, 503, web.URL+"/readyz")
	expectStatus(t, 503, web.URL+"/call")
	expectStatus(t, 200, web.URL+"/livez")
}

func TestLivenessFollowsTheDependencyOnlyWhenTold(t *testing.T) {
	_, web := serving(t, Settings{Dependency: "http://127.0.0.1:1/", LiveDependency: true})
	expectStatus(t, 503, web.URL+"/livez")
}

func TestLivenessEndsAfterItsTime(t *testing.T) {
	_, web := serving(t, Settings{LiveFor: 50 * time.Millisecond})
	expectStatus(t, 200, web.URL+"/livez")
	time.Sleep(100 * time.Millisecond)
	expectStatus(t, 503, web.URL+"/livez")
}

func TestDrainingServerIsNotReadyAndStillAnswers(t *testing.T) {
	server, web := serving(t, Settings{OnSigterm: "drain"})
	server.stopping.Store(true)
	expectStatus(t, 503, web.URL+"/readyz")
	expectStatus(t, 200, web.URL+"/")
}

func TestEnvironmentIsNeverShown(t *testing.T) {
	t.Setenv("SECRET", "do-not-show")
	_, web := serving(t, Settings{Version: "7"})
	for _, path := range []string{"/", "/env", "/readyz", "/livez", "/call"} {
		response, err := http.Get(web.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if strings.Contains(string(body), "do-not-show") {
			t.Errorf("%s shows the environment", path)
		}
	}
	expectStatus(t, 404, web.URL+"/env")
}

func verified(t *testing.T, url string) Tally {
	t.Helper()
	response, err := http.Get(url + "/verify")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var tally Tally
	if err := json.NewDecoder(response.Body).Decode(&tally); err != nil {
		t.Fatal(err)
	}
	return tally
}

func TestRecordsSurviveARestart(t *testing.T) {
	settings := Settings{File: filepath.Join(t.TempDir(), "deep", "records"), Sync: true}
	_, web := serving(t, settings)
	for range 3 {
		if _, err := http.Post(web.URL+"/write", "", nil); err != nil {
			t.Fatal(err)
		}
	}
	_, again := serving(t, settings)
	if _, err := http.Post(again.URL+"/write", "", nil); err != nil {
		t.Fatal(err)
	}
	if want, got := (Tally{Records: 4, Last: 4}), verified(t, again.URL); want != got {
		t.Errorf("want %+v, got %+v", want, got)
	}
}

func TestTornAndLostRecordsAreCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	text := strings.Join([]string{line(1), line(3), line(4)[:9], ""}, "\n")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, web := serving(t, Settings{File: path})
	if want, got := (Tally{Records: 2, Corrupt: 1, Last: 3}), verified(t, web.URL); want != got {
		t.Errorf("want %+v, got %+v", want, got)
	}
}

func TestMemoryGrowsOnRequest(t *testing.T) {
	server, web := serving(t, Settings{})
	for size, expected := range map[string]int{"64Ki": 200, "much": 400, "-1": 400} {
		response, err := http.Post(web.URL+"/grow?bytes="+size, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := response.StatusCode; got != expected {
			t.Errorf("%s: want %d, got %d", size, expected, got)
		}
	}
	if want, got := 64<<10, len(server.memory[len(server.memory)-1]); want != got {
		t.Errorf("want %d, got %d", want, got)
	}
}

func TestRequestIsHeldAsLongAsItAsks(t *testing.T) {
	_, web := serving(t, Settings{})
	began := time.Now()
	expectStatus(t, 200, web.URL+"/?ms=80")
	if took := time.Since(began); took < 80*time.Millisecond {
		t.Errorf("answered after %s", took)
	}
}

func TestRecordsAreWrittenWithoutBeingAskedFor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "records")
	server, web := serving(t, Settings{File: file, RecordEvery: 10 * time.Millisecond})
	server.misbehave()
	time.Sleep(100 * time.Millisecond)
	if tally := verified(t, web.URL); tally.Records < 2 {
		t.Errorf("only %d records", tally.Records)
	}
}

func TestEveryPortAnswers(t *testing.T) {
	first, second := free(t), free(t)
	settings := Settings{Bind: "127.0.0.1", Port: first, ExtraPorts: strconv.Itoa(second), UDPPort: first}
	server, err := NewServer(settings)
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: server.Handler()}
	if _, err := server.listen(web); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { web.Close() })
	for _, port := range []int{first, second} {
		expectStatus(t, 200, fmt.Sprintf("http://127.0.0.1:%d/", port))
	}
	if want, got := "hello", echoed(t, fmt.Sprintf("127.0.0.1:%d", first), "hello"); want != got {
		t.Errorf("want %q, got %q", want, got)
	}
}

func free(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func echoed(t *testing.T, address, text string) string {
	t.Helper()
	connection, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(time.Second))
	if _, err := connection.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 100)
	size, err := connection.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:size])
}

func TestMemoryIsTaken(t *testing.T) {
	server, _ := serving(t, Settings{Memory: 1 << 20})
	if want, got := 1<<20, len(server.memory[0]); want != got {
		t.Errorf("want %d, got %d", want, got)
	}
}
