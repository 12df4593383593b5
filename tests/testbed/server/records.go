package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"os"
	"path/filepath"
	"sync"
)

// Records is an append-only file of numbered lines, each with a checksum, so that a reader can
// tell data that was lost or torn from data that was never written.
type Records struct {
	mutex sync.Mutex
	path  string
	sync  bool
	last  int
}

// Tally is what a reader finds in the file.
type Tally struct {
	Records int `json:"records"`
	Corrupt int `json:"corrupt"`
	Missing int `json:"missing"`
	Last    int `json:"last"`
}

// OpenRecords continues after the last record that is there.
func OpenRecords(path string, sync bool) (*Records, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	records := &Records{path: path, sync: sync}
	tally, err := records.Verify()
	records.last = tally.Last
	return records, err
}

// Append writes the next record and returns its number.
func (r *Records) Append() (int, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	file, err := os.OpenFile(r.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	if _, err := fmt.Fprintln(file, line(r.last+1)); err != nil {
		return 0, err
	}
	r.last++
	if r.sync {
		return r.last, file.Sync()
	}
	return r.last, nil
}

// Verify reads the whole file back; a file that isn't there has no records.
func (r *Records) Verify() (Tally, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	file, err := os.Open(r.path)
	if os.IsNotExist(err) {
		return Tally{}, nil
	}
	if err != nil {
		return Tally{}, err
	}
	defer file.Close()
	return count(bufio.NewScanner(file))
}

func count(lines *bufio.Scanner) (Tally, error) {
	var tally Tally
	for lines.Scan() {
		var number int
		if _, err := fmt.Sscanf(lines.Text(), "%d", &number); err != nil || line(number) != lines.Text() {
			tally.Corrupt++
			continue
		}
		tally.Records++
		tally.Last = max(tally.Last, number)
	}
	tally.Missing = max(0, tally.Last-tally.Records-tally.Corrupt)
	return tally, lines.Err()
}

func line(number int) string {
	text := fmt.Sprintf("%d record", number)
	return fmt.Sprintf("%s %08x", text, crc32.ChecksumIEEE([]byte(text)))
}

func (s *Server) write(w http.ResponseWriter, _ *http.Request) {
	if s.records == nil {
		http.Error(w, "FILE is not set", http.StatusNotFound)
		return
	}
	number, err := s.records.Append()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, number)
}

func (s *Server) verify(w http.ResponseWriter, _ *http.Request) {
	if s.records == nil {
		http.Error(w, "FILE is not set", http.StatusNotFound)
		return
	}
	tally, err := s.records.Verify()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(tally)
}
