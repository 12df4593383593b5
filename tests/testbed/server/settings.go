package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Settings say how the server behaves; each comes from one environment variable.
type Settings struct {
	Port           int           // PORT: where it listens
	Version        string        // VERSION: what it calls itself in answers
	StartDelay     time.Duration // START_DELAY: nothing listens before
	ReadyDelay     time.Duration // READY_DELAY: it listens, but / and /readyz fail before
	OnSigterm      string        // ON_SIGTERM: drain, exit or ignore
	Drain          time.Duration // DRAIN: how long it still takes new requests after SIGTERM
	ResponseDelay  time.Duration // RESPONSE_DELAY: every answer of / takes this long
	Memory         int64         // MEMORY: bytes that it takes and touches at the start
	File           string        // FILE: where /write appends records
	Sync           bool          // SYNC: whether a record is on the disk before /write answers
	Dependency     string        // DEPENDENCY: a URL; /readyz fails while it doesn't answer
	LiveDependency bool          // LIVE_DEPENDENCY: whether /livez fails with it too (a known fault)
	LiveFor        time.Duration // LIVE_FOR: /livez fails afterwards
	CrashAfter     time.Duration // CRASH_AFTER: it ends with exit code 3
	ExitCode       int           // EXIT_CODE: its exit code after SIGTERM
	Bind           string        // BIND: the address it listens on; all of them by default
	ExtraPorts     string        // EXTRA_PORTS: further TCP ports, such as "9090,9091"
	UDPPort        int           // UDP_PORT: where it sends every datagram back
	RecordEvery    time.Duration // RECORD_EVERY: appends a record to FILE at the start and then so often
	Burn           float64       // BURN: processors that it keeps busy, such as 0.2
}

// ReadSettings takes the settings from an environment; a value it can't read is an error.
func ReadSettings(lookup func(string) string) (Settings, error) {
	r := reader{lookup: lookup}
	s := Settings{
		Port:           int(r.number("PORT", 8080)),
		Version:        r.text("VERSION", "1"),
		StartDelay:     r.duration("START_DELAY"),
		ReadyDelay:     r.duration("READY_DELAY"),
		OnSigterm:      r.choice("ON_SIGTERM", "drain", "exit", "ignore"),
		Drain:          r.duration("DRAIN"),
		ResponseDelay:  r.duration("RESPONSE_DELAY"),
		Memory:         r.bytes("MEMORY"),
		File:           r.text("FILE", ""),
		Sync:           r.flag("SYNC"),
		Dependency:     r.text("DEPENDENCY", ""),
		LiveDependency: r.flag("LIVE_DEPENDENCY"),
		LiveFor:        r.duration("LIVE_FOR"),
		CrashAfter:     r.duration("CRASH_AFTER"),
		ExitCode:       int(r.number("EXIT_CODE", 0)),
		Bind:           r.text("BIND", ""),
		ExtraPorts:     r.ports("EXTRA_PORTS"),
		UDPPort:        int(r.number("UDP_PORT", 0)),
		RecordEvery:    r.duration("RECORD_EVERY"),
		Burn:           r.share("BURN"),
	}
	return s, r.err
}

type reader struct {
	lookup func(string) string
	err    error
}

func (r *reader) text(name, fallback string) string {
	if value := r.lookup(name); value != "" {
		return value
	}
	return fallback
}

func (r *reader) number(name string, fallback int64) int64 {
	value, err := strconv.ParseInt(r.text(name, strconv.FormatInt(fallback, 10)), 10, 64)
	r.note(name, err)
	return value
}

// duration reads "1.5s" as well as plain seconds, "1.5".
func (r *reader) duration(name string) time.Duration {
	text := r.text(name, "0")
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		return time.Duration(seconds * float64(time.Second))
	}
	value, err := time.ParseDuration(text)
	r.note(name, err)
	return value
}

func (r *reader) bytes(name string) int64 {
	text, factor := r.text(name, "0"), int64(1)
	for suffix, size := range map[string]int64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30} {
		if rest, found := strings.CutSuffix(text, suffix); found {
			text, factor = rest, size
			break
		}
	}
	value, err := strconv.ParseInt(text, 10, 64)
	r.note(name, err)
	return value * factor
}

// ports checks a list of ports and leaves it a text, so that settings stay comparable.
func (r *reader) ports(name string) string {
	text := r.text(name, "")
	for _, port := range strings.FieldsFunc(text, isComma) {
		_, err := strconv.ParseUint(port, 10, 16)
		r.note(name, err)
	}
	return text
}

func isComma(letter rune) bool { return letter == ',' }

func (r *reader) share(name string) float64 {
	value, err := strconv.ParseFloat(r.text(name, "0"), 64)
	r.note(name, err)
	return value
}

func (r *reader) flag(name string) bool {
	value, err := strconv.ParseBool(r.text(name, "false"))
	r.note(name, err)
	return value
}

func (r *reader) choice(name string, allowed ...string) string {
	value := r.text(name, allowed[0])
	for _, known := range allowed {
		if value == known {
			return value
		}
	}
	r.note(name, fmt.Errorf("%q is none of %s", value, strings.Join(allowed, ", ")))
	return value
}

func (r *reader) note(name string, err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %w", name, err)
	}
}
