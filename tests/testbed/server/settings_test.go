package main

import (
	"testing"
	"time"
)

func from(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestSettingsHaveDefaults(t *testing.T) {
	settings, err := ReadSettings(from(nil))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Settings{Port: 8080, Version: "1", OnSigterm: "drain"}); settings != want {
		t.Errorf("want %+v, got %+v", want, settings)
	}
}

func TestSettingsReadUnits(t *testing.T) {
	values := map[string]string{"MEMORY": "64Mi", "DRAIN": "1.5", "READY_DELAY": "250ms"}
	settings, err := ReadSettings(from(values))
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(64 << 20); settings.Memory != want {
		t.Errorf("MEMORY: want %d, got %d", want, settings.Memory)
	}
	if want := 1500 * time.Millisecond; settings.Drain != want {
		t.Errorf("DRAIN: want %s, got %s", want, settings.Drain)
	}
	if want := 250 * time.Millisecond; settings.ReadyDelay != want {
		t.Errorf("READY_DELAY: want %s, got %s", want, settings.ReadyDelay)
	}
}

func TestSettingsRefuseNonsense(t *testing.T) {
	for name, value := range map[string]string{
		"PORT": "http", "MEMORY": "much", "ON_SIGTERM": "dance", "SYNC": "perhaps", "DRAIN": "soon",
		"EXTRA_PORTS": "9090,ninety", "BURN": "hot", "EXIT_CODE": "bad",
	} {
		if _, err := ReadSettings(from(map[string]string{name: value})); err == nil {
			t.Errorf("%s=%s was accepted", name, value)
		}
	}
}
