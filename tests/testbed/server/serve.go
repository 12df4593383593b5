package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// inFlightLimit bounds how long an open request may hold up the end.
const inFlightLimit = 60 * time.Second

// Server answers requests the way its settings say.
type Server struct {
	Settings
	started  time.Time
	stopping atomic.Bool
	served   atomic.Int64
	host     string
	records  *Records
	growing  sync.Mutex
	memory   [][]byte
}

// NewServer prepares a server: takes the memory, opens the file.
func NewServer(settings Settings) (*Server, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	server := &Server{Settings: settings, started: time.Now(), host: host}
	server.memory = [][]byte{touched(settings.Memory)}
	if settings.File != "" {
		server.records, err = OpenRecords(settings.File, settings.Sync)
	}
	return server, err
}

// touched takes memory for real: a page that is never written is not resident.
func touched(size int64) []byte {
	block := make([]byte, size)
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	return block
}

// Handler routes the server's few paths; none of them shows the environment.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", s.answer)
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) { verdict(w, s.ready()) })
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { verdict(w, s.live()) })
	mux.HandleFunc("/call", func(w http.ResponseWriter, _ *http.Request) { verdict(w, s.reachable()) })
	mux.HandleFunc("POST /write", s.write)
	mux.HandleFunc("GET /verify", s.verify)
	mux.HandleFunc("/burn", s.burn)
	mux.HandleFunc("POST /crash", func(http.ResponseWriter, *http.Request) { os.Exit(crashed) })
	mux.HandleFunc("POST /grow", s.grow)
	return mux
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	if err := s.warm(); err != nil {
		verdict(w, err)
		return
	}
	if !paused(r.Context(), s.ResponseDelay+held(r)) {
		return
	}
	s.served.Add(1)
	w.Header().Set("X-Version", s.Version)
	w.Header().Set("X-Host", s.host)
	fmt.Fprintf(w, "version %s on %s\n", s.Version, s.host)
}

func (s *Server) ready() error {
	switch {
	case s.stopping.Load() && s.OnSigterm == "drain":
		return errors.New("stopping")
	case s.warm() != nil:
		return s.warm()
	}
	return s.reachable()
}

func (s *Server) warm() error {
	if time.Since(s.started) < s.ReadyDelay {
		return errors.New("starting")
	}
	return nil
}

func (s *Server) live() error {
	if s.LiveFor > 0 && time.Since(s.started) > s.LiveFor {
		return errors.New("stuck")
	}
	if s.LiveDependency {
		return s.reachable()
	}
	return nil
}

// reachable asks the dependency for its readiness; without a dependency all is well.
func (s *Server) reachable() error {
	if s.Dependency == "" {
		return nil
	}
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(s.Dependency)
	if err != nil {
		return fmt.Errorf("dependency: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 400 {
		return fmt.Errorf("dependency: status %d", response.StatusCode)
	}
	return nil
}

func verdict(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func serveCommand([]string) error {
	settings, err := ReadSettings(os.Getenv)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if settings.OnSigterm == "exit" {
		go exitOn(signals, settings.ExitCode)
		signals = nil // nobody else may take the signal
	}
	if !started(settings, signals) {
		os.Exit(settings.ExitCode)
	}
	server, err := NewServer(settings)
	if err != nil {
		return err
	}
	return server.run(signals)
}

func exitOn(signals <-chan os.Signal, code int) {
	<-signals
	os.Exit(code)
}

// started waits out the delay; false when it is told to stop before it serves.
func started(settings Settings, signals <-chan os.Signal) bool {
	if settings.OnSigterm != "drain" {
		signals = nil
	}
	select {
	case <-time.After(settings.StartDelay):
		return true
	case <-signals:
		return false
	}
}

func (s *Server) run(signals <-chan os.Signal) error {
	web := &http.Server{Handler: s.Handler()}
	failed, err := s.listen(web)
	if err != nil {
		return err
	}
	s.misbehave()
	fmt.Printf("version %s serves on port %d\n", s.Version, s.Port)
	for {
		select {
		case err := <-failed:
			return err
		case <-signals:
			switch s.OnSigterm {
			case "drain":
				return s.drain(web)
			case "exit":
				// The signal came here and not to whoever waits for it since the start.
				os.Exit(s.ExitCode)
			}
		}
	}
}

// drain stays open for a while, so that callers that don't know yet still find somebody, then
// closes the door and finishes what is inside.
func (s *Server) drain(web *http.Server) error {
	s.stopping.Store(true)
	fmt.Printf("draining for %s\n", s.Drain)
	time.Sleep(s.Drain)
	end, cancel := context.WithTimeout(context.Background(), inFlightLimit)
	defer cancel()
	err := web.Shutdown(end)
	fmt.Printf("drained after %d answers\n", s.served.Load())
	if err == nil && s.ExitCode != 0 {
		os.Exit(s.ExitCode)
	}
	return err
}

// paused waits unless the caller goes away first.
func paused(ctx context.Context, delay time.Duration) bool {
	select {
	case <-time.After(delay):
		return true
	case <-ctx.Done():
		return false
	}
}
