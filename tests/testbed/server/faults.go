package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

const (
	// crashed is the exit code of a crash that was asked for.
	crashed = 3
	// longestHold bounds what one request can ask for.
	longestHold = 60 * time.Second
	longestBurn = 10 * time.Second
	burnPeriod  = 20 * time.Millisecond
)

// misbehave starts what the settings say happens without anybody asking.
func (s *Server) misbehave() {
	if s.CrashAfter > 0 {
		time.AfterFunc(s.CrashAfter, func() { os.Exit(crashed) })
	}
	if s.Burn > 0 {
		go keepBusy(s.Burn)
	}
	if s.RecordEvery > 0 && s.records != nil {
		go s.keepWriting()
	}
}

// keepBusy uses that many processors, in short bursts so that a limit shows at once.
func keepBusy(processors float64) {
	for whole := 1.0; whole < processors; whole++ {
		go burst(burnPeriod, burnPeriod)
	}
	part := processors - float64(int(processors))
	if part == 0 {
		part = 1
	}
	burst(time.Duration(part*float64(burnPeriod)), burnPeriod)
}

func burst(busy, period time.Duration) {
	for {
		began := time.Now()
		spin(busy)
		time.Sleep(period - time.Since(began))
	}
}

func spin(duration time.Duration) int {
	rounds := 0
	for end := time.Now().Add(duration); time.Now().Before(end); {
		rounds++
	}
	return rounds
}

// keepWriting goes on when a write fails: a read-only disk is a case, not a crash.
func (s *Server) keepWriting() {
	for {
		if _, err := s.records.Append(); err != nil {
			fmt.Fprintf(os.Stderr, "record: %v\n", err)
		}
		time.Sleep(s.RecordEvery)
	}
}

// burn keeps one processor busy for ?ms=.
func (s *Server) burn(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, spin(min(asked(r), longestBurn)))
}

// grow takes ?bytes= more memory and keeps it.
func (s *Server) grow(w http.ResponseWriter, r *http.Request) {
	query := reader{lookup: r.URL.Query().Get}
	size := query.bytes("bytes")
	if query.err != nil || size < 0 {
		http.Error(w, "?bytes= wants a size such as 16Mi", http.StatusBadRequest)
		return
	}
	s.growing.Lock()
	defer s.growing.Unlock()
	s.memory = append(s.memory, touched(size))
	fmt.Fprintln(w, size)
}

// held is how long the sender of a request wants to wait for its answer: ?ms=.
func held(r *http.Request) time.Duration {
	return min(asked(r), longestHold)
}

func asked(r *http.Request) time.Duration {
	milliseconds, _ := strconv.Atoi(r.URL.Query().Get("ms"))
	return time.Duration(milliseconds) * time.Millisecond
}
