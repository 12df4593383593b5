package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"
)

func probed(t *testing.T, url string, duration time.Duration) Summary {
	t.Helper()
	plan := Plan{URL: url, Rate: 100, Duration: duration, Timeout: 200 * time.Millisecond}
	if err := plan.Check(); err != nil {
		t.Fatal(err)
	}
	samples, took := Probe(context.Background(), plan)
	return Summarise(plan, samples, took)
}

func expectFailures(t *testing.T, kind string, url string) {
	t.Helper()
	summary := probed(t, url, 100*time.Millisecond)
	if want := map[string]int{kind: 10}; !reflect.DeepEqual(want, summary.Failures) {
		t.Errorf("want %v, got %v", want, summary.Failures)
	}
}

func TestProbeCountsWhatIsAnswered(t *testing.T) {
	_, web := serving(t, Settings{Version: "5"})
	summary := probed(t, web.URL, 500*time.Millisecond)
	if summary.Requests != 50 || summary.Failed != 0 || summary.Versions["5"] != 50 {
		t.Errorf("want 50 answers of version 5, got %+v", summary)
	}
	if summary.P50 <= 0 || summary.P99 < summary.P50 || summary.Max < summary.P99 {
		t.Errorf("latencies are out of order: %+v", summary)
	}
}

func TestProbeTellsRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	expectFailures(t, "refused", fmt.Sprintf("http://%s/", listener.Addr()))
}

func TestProbeTellsTimeout(t *testing.T) {
	_, web := serving(t, Settings{ResponseDelay: time.Second})
	expectFailures(t, "timeout", web.URL)
}

func TestProbeTellsServerErrors(t *testing.T) {
	broken := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) })
	web := httptest.NewServer(broken)
	defer web.Close()
	expectFailures(t, "5xx", web.URL)
}

func TestProbeTellsResets(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = connection.(*net.TCPConn).SetLinger(0)
			connection.Close()
		}
	}))
	defer web.Close()
	expectFailures(t, "reset", web.URL)
}

func TestProbeTellsNamesThatDoNotResolve(t *testing.T) {
	if got := classify(&net.DNSError{Err: "no such host"}); got != "dns" {
		t.Errorf("want dns, got %s", got)
	}
}

func TestProbeIsBounded(t *testing.T) {
	good := Plan{URL: "http://x/", Rate: 1, Duration: time.Second, Timeout: time.Second}
	for name, change := range map[string]func(*Plan){
		"no target": func(p *Plan) { p.URL = "" },
		"no scheme": func(p *Plan) { p.URL = "x:80" },
		"too fast":  func(p *Plan) { p.Rate = maxRate + 1 },
		"too long":  func(p *Plan) { p.Duration = maxDuration + 1 },
		"no end":    func(p *Plan) { p.Timeout = 0 },
	} {
		plan := good
		change(&plan)
		if plan.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

func TestProbeEndsEarlyWhenTold(t *testing.T) {
	_, web := serving(t, Settings{})
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	plan := Plan{URL: web.URL, Rate: 50, Duration: time.Minute, Timeout: time.Second}
	samples, took := Probe(ctx, plan)
	if took > 5*time.Second || len(samples) == 0 || len(samples) > 20 {
		t.Errorf("want some of 3000 requests, got %d in %s", len(samples), took)
	}
}

func TestLongestGapSpansFailures(t *testing.T) {
	at := func(ms int, failure string) Sample {
		return Sample{At: time.Duration(ms) * time.Millisecond, Failure: failure}
	}
	samples := []Sample{at(0, ""), at(10, ""), at(20, "refused"), at(50, ""), at(60, "timeout")}
	if want, got := 40.0, longestGap(samples, 60*time.Millisecond); want != got {
		t.Errorf("want %g ms, got %g", want, got)
	}
	summary := Summarise(Plan{}, samples, 60*time.Millisecond)
	if summary.Failed != 2 || summary.FirstFailure != 20 || summary.LastFailure != 60 {
		t.Errorf("want two failures from 20 to 60 ms, got %+v", summary)
	}
}
