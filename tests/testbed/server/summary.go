package main

import (
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
	"time"
)

// Summary is the one document a probe prints; all times are milliseconds from its start.
type Summary struct {
	Plan
	Seconds      float64        `json:"seconds"`
	Requests     int            `json:"requests"`
	Failed       int            `json:"failed"`
	Failures     map[string]int `json:"failures"`
	Versions     map[string]int `json:"versions"`
	Hosts        map[string]int `json:"hosts"`
	LongestGap   float64        `json:"longest_gap_ms"`
	FirstFailure float64        `json:"first_failure_ms"`
	LastFailure  float64        `json:"last_failure_ms"`
	P50          float64        `json:"p50_ms"`
	P99          float64        `json:"p99_ms"`
	Max          float64        `json:"max_ms"`
	Timeline     []Moment       `json:"timeline,omitempty"`
}

// Moment is one request in the optional timeline.
type Moment struct {
	At      float64 `json:"at_ms"`
	Took    float64 `json:"took_ms"`
	Failure string  `json:"failure,omitempty"`
	Version string  `json:"version,omitempty"`
	Host    string  `json:"host,omitempty"`
}

// Summarise turns the samples into figures.
func Summarise(plan Plan, samples []Sample, took time.Duration) Summary {
	slices.SortFunc(samples, func(a, b Sample) int { return int(a.At - b.At) })
	summary := Summary{Plan: plan, Seconds: took.Seconds(), Requests: len(samples)}
	summary.Failures = map[string]int{}
	summary.Versions, summary.Hosts = map[string]int{}, map[string]int{}
	for _, sample := range samples {
		summary.add(sample)
	}
	summary.LongestGap = longestGap(samples, took)
	summary.P50, summary.P99, summary.Max = latencies(samples)
	return summary
}

func (s *Summary) add(sample Sample) {
	at := milliseconds(sample.At)
	if sample.Failure != "" {
		if s.Failed == 0 {
			s.FirstFailure = at
		}
		s.Failed, s.LastFailure = s.Failed+1, at
		s.Failures[sample.Failure]++
	}
	if sample.Version != "" {
		s.Versions[sample.Version]++
		s.Hosts[sample.Host]++
	}
	if s.Plan.Timeline {
		took := milliseconds(sample.Took)
		s.Timeline = append(s.Timeline, Moment{at, took, sample.Failure, sample.Version, sample.Host})
	}
}

// longestGap is the longest time in which no request was answered well, the run's ends included.
func longestGap(samples []Sample, took time.Duration) float64 {
	moments := []time.Duration{0}
	for _, sample := range samples {
		if sample.Failure == "" {
			moments = append(moments, sample.At+sample.Took)
		}
	}
	slices.Sort(moments)
	moments = append(moments, max(took, moments[len(moments)-1]))
	var longest time.Duration
	for i := 1; i < len(moments); i++ {
		longest = max(longest, moments[i]-moments[i-1])
	}
	return milliseconds(longest)
}

func latencies(samples []Sample) (p50, p99, most float64) {
	var times []time.Duration
	for _, sample := range samples {
		if sample.Failure == "" {
			times = append(times, sample.Took)
		}
	}
	if len(times) == 0 {
		return 0, 0, 0
	}
	slices.Sort(times)
	at := func(share float64) float64 { return milliseconds(times[int(share*float64(len(times)-1))]) }
	return at(0.50), at(0.99), at(1)
}

// classify names the way a request failed, as its sender saw it.
func classify(err error) string {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return "dns"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	}
	// A connection that ends before the answer: a reset, or an end of file in the middle.
	return "reset"
}

func classifyStatus(status int) string {
	switch {
	case status >= 500:
		return "5xx"
	case status >= 400:
		return "4xx"
	}
	return ""
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
