package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const toolTimeout = 3 * time.Second

// healthcheckCommand asks the server in the same container whether it is ready.
func healthcheckCommand([]string) error {
	settings, err := ReadSettings(os.Getenv)
	if err != nil {
		return err
	}
	return fetch(fmt.Sprintf("http://127.0.0.1:%d/readyz", settings.Port), io.Discard)
}

// getCommand prints what a URL answers.
func getCommand(arguments []string) error {
	target, err := only(arguments, "URL")
	if err != nil {
		return err
	}
	return fetch(target, os.Stdout)
}

// dialCommand succeeds when something listens at HOST:PORT.
func dialCommand(arguments []string) error {
	target, err := only(arguments, "HOST:PORT")
	if err != nil {
		return err
	}
	connection, err := net.DialTimeout("tcp", target, toolTimeout)
	if err != nil {
		return err
	}
	return connection.Close()
}

// resolveCommand prints the addresses of a name.
func resolveCommand(arguments []string) error {
	name, err := only(arguments, "NAME")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), toolTimeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	for _, address := range addresses {
		fmt.Println(address)
	}
	return err
}

// sleepCommand is a preStop hook for an image without a shell.
func sleepCommand(arguments []string) error {
	text, err := only(arguments, "DURATION")
	if err != nil {
		return err
	}
	duration, err := time.ParseDuration(text)
	time.Sleep(duration)
	return err
}

func fetch(target string, into io.Writer) error {
	client := http.Client{Timeout: toolTimeout}
	response, err := client.Get(target)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(into, response.Body); err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

func only(arguments []string, what string) (string, error) {
	if len(arguments) != 1 {
		return "", errors.New("wants one argument: " + what)
	}
	return arguments[0], nil
}
