package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func started(t *testing.T, settings Settings) (*Server, *httptest.Server) {
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
	_, web := started(t, Settings{ReadyDelay: 100 * time.Millisecond})
	expectStatus(t, 503, web.URL+"/readyz")
	expectStatus(t, 200, web.URL+"/livez")
	time.Sleep(150 * time.Millisecond)
	expectStatus(t, 200, web.URL+"/readyz")
}

func TestReadinessFollowsTheDependency(t *testing.T) {
	_, dependency := started(t, Settings{})
	_, web := started(t, Settings{Dependency: dependency.URL + "/readyz"})
	expectStatus(t, 200, web.URL+"/readyz")
	dependency.Close()
	expectStatus(t, 503, web.URL+"/readyz")
	expectStatus(t, 503, web.URL+"/call")
	expectStatus(t, 200, web.URL+"/livez")
}

func TestLivenessFollowsTheDependencyOnlyWhenTold(t *testing.T) {
	_, web := started(t, Settings{Dependency: "http://127.0.0.1:1/", LiveDependency: true})
	expectStatus(t, 503, web.URL+"/livez")
}

func TestLivenessEndsAfterItsTime(t *testing.T) {
	_, web := started(t, Settings{LiveFor: 50 * time.Millisecond})
	expectStatus(t, 200, web.URL+"/livez")
	time.Sleep(100 * time.Millisecond)
	expectStatus(t, 503, web.URL+"/livez")
}

func TestDrainingServerIsNotReadyAndStillAnswers(t *testing.T) {
	server, web := started(t, Settings{OnSigterm: "drain"})
	server.stopping.Store(true)
	expectStatus(t, 503, web.URL+"/readyz")
	expectStatus(t, 200, web.URL+"/")
}

func TestEnvironmentIsNeverShown(t *testing.T) {
	t.Setenv("SECRET", "do-not-show")
	_, web := started(t, Settings{Version: "7"})
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
	_, web := started(t, settings)
	for range 3 {
		if _, err := http.Post(web.URL+"/write", "", nil); err != nil {
			t.Fatal(err)
		}
	}
	_, again := started(t, settings)
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
	_, web := started(t, Settings{File: path})
	if want, got := (Tally{Records: 2, Corrupt: 1, Last: 3}), verified(t, web.URL); want != got {
		t.Errorf("want %+v, got %+v", want, got)
	}
}

func TestMemoryIsTaken(t *testing.T) {
	server, _ := started(t, Settings{Memory: 1 << 20})
	if want, got := 1<<20, len(server.memory); want != got {
		t.Errorf("want %d, got %d", want, got)
	}
}
