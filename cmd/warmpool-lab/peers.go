package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/warmpool-dev/warmpool/cmd/internal/child"
	"github.com/warmpool-dev/warmpool/cmd/internal/program"
)

// What the intermediaries are told is the best for this job: nothing is given up
// that they can keep. Each slot is a pool of its own in each of them.

// haproxyHead lets every client use every idle connection, of which none is ever
// purged; by default that begins after 5 s.
const haproxyHead = `global
    maxconn 4000
defaults
    mode http
    no log
    http-reuse always
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
frontend front
    bind unix@%s
    use_backend %%[req.hdr(%s)]
`

func (l *lab) haproxyConfig(socket string, slots []Slot) []byte {
	b := fmt.Appendf(nil, haproxyHead, socket, slotHeader)
	for _, s := range slots {
		b = fmt.Appendf(b, "backend %s\n    server origin %s pool-purge-delay 1h", s.Name(), s.Origin.address(&l.plan))
		if s.Origin.TLS {
			b = fmt.Appendf(b, " ssl alpn http/1.1 verify required ca-file %s", l.cert)
		}
		b = append(b, '\n')
	}
	return b
}

// nginxHead has one worker, since each has pools of its own, and passes bodies on
// as they come. The worker is the process itself: one of a master's would outlive
// a run that is killed.
const nginxHead = `daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr error;
worker_rlimit_nofile 10000;
events { worker_connections 5000; }
http {
    access_log off;
    client_body_temp_path %[1]s/body;
    proxy_temp_path %[1]s/proxy;
    fastcgi_temp_path %[1]s/fastcgi;
    uwsgi_temp_path %[1]s/uwsgi;
    scgi_temp_path %[1]s/scgi;
    client_max_body_size 0;
    keepalive_timeout 1h;
    keepalive_requests 1000000;
    server {
        listen unix:%[2]s;
        location / {
            proxy_pass $http_x_scheme://$http_x_slot;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate %[3]s;
            proxy_ssl_name %[4]s;
        }
    }
`

func (l *lab) nginxConfig(dir, socket string, slots []Slot) []byte {
	b := fmt.Appendf(nil, nginxHead, dir, socket, l.cert, originName)
	for _, s := range slots {
		b = fmt.Appendf(b, "    upstream %s { server %s; keepalive %d; keepalive_timeout 1h; keepalive_requests 1000000; }\n",
			s.Name(), s.Origin.address(&l.plan), l.plan.Burst)
	}
	return append(b, "}\n"...)
}

// policy is what warmpool's upstreams of a kind are told.
type policy struct {
	warm, max, depth int
	more             string // of connections
}

func (p *Plan) policy(k Kind) policy {
	return map[Kind]policy{
		Single:      {warm: 1, max: 8, depth: 1},
		Bursts:      {warm: p.Burst, max: 2 * p.Burst, depth: 1},
		Post:        {warm: 1, max: 4, depth: 1},
		PostFirst:   {warm: 1, max: 4, depth: 1},
		PostNoFloor: {warm: 0, max: 4, depth: 1},
		Choice:      {warm: uploadAmong, max: uploadAmong, depth: 1},
		Kept:        {warm: 2, max: 4, depth: 1},
		Left:        {warm: 2, max: 4, depth: 1},
		Ahead:       {warm: 0, max: loadedMax, depth: 1, more: fmt.Sprintf(", max_requests: %d", loadedRequests)},
		Asked:       {warm: 0, max: loadedMax, depth: 1, more: fmt.Sprintf(", max_requests: %d, preconnect: 1", loadedRequests)},
		NewSerial:   {warm: 0, max: 1, depth: 1},
		NewParallel: {warm: 0, max: objectsParallel, depth: 1},
		Persistent:  {warm: 0, max: 1, depth: 1},
		Parallel:    {warm: 0, max: objectsParallel, depth: 1},
		Pipelined:   {warm: 0, max: 1, depth: objects},
	}[k]
}

// warmpoolHead leaves warmpool at its defaults, but for a drain that holds up
// nobody.
const warmpoolHead = `listen: ["unix://%s"]
control: ["unix://%s"]
admin: "off"
log: {level: warn, format: text}
drain: {grace: 1s}
upstreams:
`

// warmpoolUpstream gives requests time to wait for connections while others are
// dialled by the hundred at the start. Once warm, none waits.
const warmpoolUpstream = `  - name: %s
    url: %s://%s
    connections: {warm: %d, max: %d%s}
    queue: {max_wait: 30s}
    pipelining: {depth: %d}
    upkeep: {path: /bytes/1}
`

// controlOf is where a sidecar that listens at socket is controlled.
func controlOf(socket string) string { return socket + "-control" }

func (l *lab) warmpoolConfig(socket string, slots []Slot) []byte {
	b := fmt.Appendf(nil, warmpoolHead, socket, controlOf(socket))
	for _, s := range slots {
		p := l.plan.policy(s.Kind)
		b = fmt.Appendf(b, warmpoolUpstream, s.Name(), s.Origin.scheme(), s.Origin.address(&l.plan), p.warm, p.max, p.more, p.depth)
		if s.Origin.TLS {
			b = fmt.Appendf(b, "    tls: {ca_file: %q}\n", l.cert)
		}
		if s.Kind == Choice && l.selection != "" {
			b = bytes.Replace(b, []byte("max: 4}"), fmt.Appendf(nil, "max: 4, selection: %s}", l.selection), 1)
		}
	}
	return b
}

// startProxies starts those that are installed, and says which are not.
func (l *lab) startProxies() error {
	slots := append(l.plan.idling(), l.plan.posting()...)
	for _, p := range []struct {
		way    Way
		binary string
		config func(dir, socket string) []byte
		args   func(file string) []string
		pack   string
	}{
		{HAProxy, "haproxy", func(_, socket string) []byte { return l.haproxyConfig(socket, slots) }, func(file string) []string { return []string{"-db", "-f", file} }, "haproxy"},
		{Nginx, "nginx", func(dir, socket string) []byte { return l.nginxConfig(dir, socket, slots) }, func(file string) []string { return []string{"-c", file, "-e", "stderr"} }, "nginx-light"},
	} {
		path := program.Find(p.binary)
		if path == "" {
			l.missing[p.way] = (&program.NotInstalledError{Program: p.binary, Do: "install the distribution's package, for example: apt-get install " + p.pack}).Error()
			continue
		}
		dir, socket, err := l.folder(p.binary)
		if err != nil {
			return err
		}
		file := filepath.Join(dir, "config")
		if err := os.WriteFile(file, p.config(dir, socket), 0o600); err != nil {
			return err
		}
		if _, err := l.start(l.near, p.binary, path, p.args(file), nil, false); err != nil {
			return err
		}
		l.sockets[p.way] = socket
	}
	return nil
}

// folder makes a folder of a process, and says where its socket is to be.
func (l *lab) folder(name string) (dir, socket string, err error) {
	dir = filepath.Join(l.dir, name)
	return dir, filepath.Join(dir, "socket"), os.MkdirAll(dir, 0o700)
}

// sidecar starts warmpool with upstreams for slots, and says where it listens.
func (l *lab) sidecar(name string, slots []Slot) (p *child.Process, socket string, err error) {
	dir, socket, err := l.folder(name)
	if err != nil {
		return nil, "", err
	}
	file := filepath.Join(dir, "warmpool.yaml")
	if err := os.WriteFile(file, l.warmpoolConfig(socket, slots), 0o600); err != nil {
		return nil, "", err
	}
	p, err = l.start(l.near, "warmpool", l.warmpool, []string{"serve", "-c", file}, nil, false)
	return p, socket, err
}

// ready waits until a sidecar is ready, or has ended.
func (l *lab) ready(ctx context.Context, p *child.Process, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	go func() {
		select {
		case <-p.Exited():
			cancel()
		case <-ctx.Done():
		}
	}()
	args := []string{"wait", "-s", "unix://" + socket, "--timeout", readyLimit.String()}
	out, err := exec.CommandContext(ctx, l.warmpool, args...).CombinedOutput() //nolint:gosec // what is measured is the user's choice
	if err == nil {
		return nil
	}
	select {
	case <-p.Exited():
		return p.Failure()
	default:
		return fmt.Errorf("warmpool is not ready: %w\n%s", err, out)
	}
}
