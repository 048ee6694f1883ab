package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nginx is an nginx of the distribution, plain and TLS: a file server with DAV below /nginx/files/, two answers of its
// own, and a reverse proxy of the app for everything else.
type nginx struct {
	owner      *testing.T // whose end is nginx's
	program    string
	dir        string
	plain, tls int // ports
	process    *process
}

// nginxSettings are what tests vary; the zero value is nginx's own default.
type nginxSettings struct {
	keepaliveTimeout, keepaliveRequests string
}

const nginxConfig = `
%[1]s
worker_processes 2;
worker_shutdown_timeout 10s;
daemon off;
pid nginx.pid;
events { worker_connections 4096; }
http {
  log_format requests '$request_method $request_uri $status';
  access_log access.log requests;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;

  client_max_body_size 16m;
  client_body_buffer_size 256k;
  large_client_header_buffers 8 64k;
  proxy_buffer_size 256k;
  proxy_buffers 8 256k;
  proxy_busy_buffers_size 512k;
  keepalive_timeout %[2]s;
  keepalive_requests %[3]s;
  default_type text/plain;
  ssl_certificate %[4]s;
  ssl_certificate_key %[5]s;

  upstream app {
    server %[6]s;
    keepalive 32;
  }

  server {
    listen 127.0.0.1:%[7]d backlog=4096;
    listen 127.0.0.1:%[8]d ssl backlog=4096;

    location = /nginx/connection {
      return 200 "$connection $connection_requests $arg_id";
    }
    location /nginx/files/ {
      alias files/;
      dav_methods PUT DELETE;
      gzip on;
      gzip_min_length 1;
      gzip_types *;
    }
    location = /nginx/files/with-trailer {
      alias files/text;
      gzip on;
      gzip_types *;
      add_trailer X-Trailer "after the body";
    }
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_read_timeout 30s;
      add_header X-Connection $connection always;
    }
  }
}
`

// fileText is what nginx serves as /nginx/files/text.
var fileText = strings.Repeat("All work and no play makes Jack a dull boy.\n", 500)

func startNginx(t *testing.T, a *app, certs certificates, s nginxSettings) *nginx {
	t.Helper()
	n := &nginx{owner: t, program: program(t, "nginx", "nginx-light"), dir: folder(t), plain: freePort(t), tls: freePort(t)}
	files := filepath.Join(n.dir, "files")
	if err := os.Mkdir(files, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(files, "text"), fileText)
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // the workers keep the files' owner
	}
	if s.keepaliveTimeout == "" {
		s.keepaliveTimeout = "75s"
	}
	if s.keepaliveRequests == "" {
		s.keepaliveRequests = "1000"
	}
	config := fmt.Sprintf(nginxConfig, user, s.keepaliveTimeout, s.keepaliveRequests, certs.cert, certs.key, a.plain.addr, n.plain, n.tls)
	// Relative paths are taken from the prefix, except where nginx was built to take them from elsewhere.
	config = strings.NewReplacer("alias files/", "alias "+files+"/", "access_log ", "access_log "+n.dir+"/").Replace(config)
	writeFile(t, filepath.Join(n.dir, "nginx.conf"), config)
	n.start(t)
	return n
}

func (n *nginx) command(args ...string) *exec.Cmd {
	return exec.Command(n.program, append([]string{"-p", n.dir, "-c", filepath.Join(n.dir, "nginx.conf"), "-e", "stderr"}, args...)...)
}

// start runs nginx and waits until it accepts connections. It is called again after a stop.
func (n *nginx) start(t *testing.T) {
	t.Helper()
	n.process = start(n.owner, "nginx", n.command())
	if err := n.process.accepts(context.Background(), loopback(n.plain)); err != nil {
		t.Fatal(err)
	}
}

// reload replaces the workers, as "systemctl reload nginx" does.
func (n *nginx) reload(t *testing.T) {
	t.Helper()
	if out, err := n.command("-s", "reload").CombinedOutput(); err != nil {
		t.Fatalf("nginx -s reload: %v\n%s", err, out)
	}
}

// restartAfter stops nginx with the signal and starts it anew on the same ports. SIGQUIT lets running requests finish,
// SIGTERM does not.
func (n *nginx) restartAfter(s syscall.Signal) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if err := n.process.stop(t, s); err != nil {
			t.Fatalf("nginx: %v", err)
		}
		n.start(t)
	}
}

// requests lists what the access log has, as "METHOD URI STATUS".
func (n *nginx) requests(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(n.dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}
