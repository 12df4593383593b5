package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// The probe is a measuring client, not a load generator: these bounds keep it one.
const (
	maxRate     = 1000.0
	maxDuration = 15 * time.Minute
	maxInFlight = 2000
)

// Plan says what to ask, how often and for how long.
type Plan struct {
	URL      string        `json:"url"`
	Rate     float64       `json:"rate"`
	Duration time.Duration `json:"-"`
	Timeout  time.Duration `json:"-"`
	Timeline bool          `json:"-"`
}

// Sample is one request: when it was due, how long it took, how it ended.
type Sample struct {
	At      time.Duration
	Took    time.Duration
	Failure string
	Version string
	Host    string
}

// Check refuses a plan without a clear target or beyond the bounds.
func (p Plan) Check() error {
	target, err := url.Parse(p.URL)
	switch {
	case err != nil:
		return err
	case target.Host == "" || (target.Scheme != "http" && target.Scheme != "https"):
		return fmt.Errorf("-url %q is no http URL", p.URL)
	case p.Rate <= 0 || p.Rate > maxRate:
		return fmt.Errorf("-rate %g is not within 0 to %g", p.Rate, maxRate)
	case p.Duration <= 0 || p.Duration > maxDuration:
		return fmt.Errorf("-duration %s is not within 0 to %s", p.Duration, maxDuration)
	case p.Timeout <= 0 || p.Timeout > time.Minute:
		return fmt.Errorf("-timeout %s is not within 0 to 1m", p.Timeout)
	}
	return nil
}

// Probe sends the requests at their due times, whether or not earlier ones were answered, and
// waits for the last answer. A cancelled context ends it early; what was measured counts.
func Probe(ctx context.Context, plan Plan) ([]Sample, time.Duration) {
	client := &http.Client{
		Timeout:       plan.Timeout,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	started := time.Now()
	samples := make(chan Sample, maxInFlight)
	go send(ctx, plan, started, samples, client)
	var all []Sample
	for sample := range samples {
		all = append(all, sample)
	}
	return all, time.Since(started)
}

func send(ctx context.Context, plan Plan, started time.Time, samples chan<- Sample, c *http.Client) {
	var open sync.WaitGroup
	slots := make(chan struct{}, maxInFlight)
	for number := 0; ; number++ {
		due := time.Duration(float64(number) / plan.Rate * float64(time.Second))
		if due >= plan.Duration || !paused(ctx, time.Until(started.Add(due))) {
			break
		}
		slots <- struct{}{}
		open.Add(1)
		go func() {
			defer func() { <-slots; open.Done() }()
			samples <- ask(c, plan.URL, time.Since(started))
		}()
	}
	open.Wait()
	close(samples)
}

func ask(client *http.Client, target string, at time.Duration) Sample {
	began := time.Now()
	response, err := client.Get(target)
	sample := Sample{At: at, Took: time.Since(began)}
	if err != nil {
		sample.Failure = classify(err)
		return sample
	}
	defer response.Body.Close()
	sample.Failure = classifyStatus(response.StatusCode)
	sample.Version = response.Header.Get("X-Version")
	sample.Host = response.Header.Get("X-Host")
	return sample
}

func probeCommand(arguments []string) error {
	var plan Plan
	flags := flag.NewFlagSet("probe", flag.ContinueOnError)
	flags.StringVar(&plan.URL, "url", "", "what to request (no default)")
	flags.Float64Var(&plan.Rate, "rate", 50, "requests per second, each on a new connection")
	flags.DurationVar(&plan.Duration, "duration", 10*time.Second, "for how long")
	flags.DurationVar(&plan.Timeout, "timeout", 2*time.Second, "when a request counts as failed")
	flags.BoolVar(&plan.Timeline, "timeline", false, "list every request")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if err := plan.Check(); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	samples, took := Probe(ctx, plan)
	return json.NewEncoder(os.Stdout).Encode(Summarise(plan, samples, took))
}
