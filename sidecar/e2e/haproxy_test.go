package e2e

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// haproxy is a HAProxy of the distribution in front of an nginx.
type haproxy struct {
	port    int
	admin   string // path of its stats socket
	process *process
}

const haproxyConfig = `
global
  maxconn 4096
  tune.bufsize 131072
  tune.http.maxhdr 512
  stats socket %[1]s level admin

defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s

frontend front
  bind 127.0.0.1:%[2]d
  default_backend nginx

backend nginx
  server nginx %[3]s
`

func startHAProxy(t *testing.T, n *nginx) *haproxy {
	t.Helper()
	path, dir := program(t, "haproxy", "haproxy"), folder(t)
	h := &haproxy{port: freePort(t), admin: filepath.Join(dir, "admin.sock")}
	config := filepath.Join(dir, "haproxy.cfg")
	writeFile(t, config, fmt.Sprintf(haproxyConfig, h.admin, h.port, loopback(n.plain)))
	h.process = start(t, "haproxy", exec.Command(path, "-db", "-f", config))
	if err := h.process.accepts(context.Background(), loopback(h.port)); err != nil {
		t.Fatal(err)
	}
	return h
}

// mostConnections is how many connections its frontend has had open at once.
func (h *haproxy) mostConnections(t *testing.T) int {
	t.Helper()
	conn, err := net.Dial("unix", h.admin)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "show stat\n"); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(strings.TrimSpace(string(text)), "# "))).ReadAll()
	if err != nil {
		t.Fatalf("show stat: %v\n%s", err, text)
	}
	column := slices.Index(rows[0], "smax")
	for _, row := range rows[1:] {
		if row[0] == "front" && row[1] == "FRONTEND" {
			most, err := strconv.Atoi(row[column])
			if err != nil {
				t.Fatal(err)
			}
			return most
		}
	}
	t.Fatalf("show stat has no frontend:\n%s", text)
	return 0
}
