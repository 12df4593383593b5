// Command server is the subject of the experiments: an HTTP server whose faults are settings,
// and the client that measures what callers see of them.
package main

import (
	"fmt"
	"os"
)

var commands = map[string]func([]string) error{
	"serve":       serveCommand,
	"probe":       probeCommand,
	"healthcheck": healthcheckCommand,
	"get":         getCommand,
	"dial":        dialCommand,
	"resolve":     resolveCommand,
	"sleep":       sleepCommand,
}

func main() {
	name, arguments := "serve", os.Args[1:]
	if len(arguments) > 0 {
		name, arguments = arguments[0], arguments[1:]
	}
	command, known := commands[name]
	if !known {
		fmt.Fprintf(os.Stderr, "server: no command %q\n", name)
		os.Exit(2)
	}
	if err := command(arguments); err != nil {
		fmt.Fprintf(os.Stderr, "server %s: %v\n", name, err)
		os.Exit(1)
	}
}
