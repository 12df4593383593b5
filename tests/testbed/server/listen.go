package main

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// listen opens every port before the first request is served; what ends one ends the server.
func (s *Server) listen(web *http.Server) (<-chan error, error) {
	ports := append([]string{strconv.Itoa(s.Port)}, strings.FieldsFunc(s.ExtraPorts, isComma)...)
	failed := make(chan error, len(ports)+1)
	for _, port := range ports {
		listener, err := net.Listen("tcp", net.JoinHostPort(s.Bind, port))
		if err != nil {
			return nil, err
		}
		go func() { failed <- web.Serve(listener) }()
	}
	if s.UDPPort == 0 {
		return failed, nil
	}
	connection, err := net.ListenPacket("udp", net.JoinHostPort(s.Bind, strconv.Itoa(s.UDPPort)))
	if err != nil {
		return nil, err
	}
	go func() { failed <- echo(connection) }()
	return failed, nil
}

// echo sends every datagram back to its sender.
func echo(connection net.PacketConn) error {
	buffer := make([]byte, 64<<10)
	for {
		size, sender, err := connection.ReadFrom(buffer)
		if err != nil {
			return fmt.Errorf("udp: %w", err)
		}
		// A sender that is gone already is no fault of the server.
		_, _ = connection.WriteTo(buffer[:size], sender)
	}
}
