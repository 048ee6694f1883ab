package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// apache is an Apache of the distribution that answers every path below /own/ with a file of its own.
type apache struct {
	port    int
	dir     string
	process *process
}

const apacheConfig = `
ServerRoot %[1]s
ServerName localhost
DefaultRuntimeDir %[1]s
PidFile apache.pid
Listen 127.0.0.1:%[2]d
%[4]s
LoadModule mpm_event_module %[3]s/mod_mpm_event.so
LoadModule authz_core_module %[3]s/mod_authz_core.so
LoadModule alias_module %[3]s/mod_alias.so
ErrorLog /dev/stderr
LogFormat "%%m %%U %%>s" requests
CustomLog access.log requests
KeepAlive On
KeepAliveTimeout %[5]d
MaxKeepAliveRequests 0
DocumentRoot %[1]s
AliasMatch "^/own/" %[1]s/answer
<Directory %[1]s>
  Require all granted
</Directory>
`

// startApache runs Apache, which ends connections that have been idle for keepalive.
func startApache(t *testing.T, keepalive time.Duration) *apache {
	t.Helper()
	path := program(t, "apache2", "apache2")
	const modules = "/usr/lib/apache2/modules"
	if _, err := os.Stat(modules); err != nil {
		unavailable(t, "Apache's modules are not where Debian has them: "+err.Error())
	}
	a := &apache{port: freePort(t), dir: folder(t)}
	user := ""
	if os.Geteuid() == 0 {
		user = "User www-data\nGroup www-data" // Apache refuses to serve as root
		for dir := a.dir; ; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if dir == scratch {
				break
			}
		}
	}
	config := filepath.Join(a.dir, "apache.conf")
	writeFile(t, config, fmt.Sprintf(apacheConfig, a.dir, a.port, modules, user, int(keepalive.Seconds())))
	writeFile(t, filepath.Join(a.dir, "answer"), "ok")
	if err := os.Chmod(filepath.Join(a.dir, "answer"), 0o644); err != nil {
		t.Fatal(err)
	}
	a.process = start(t, "apache2", exec.Command(path, "-D", "FOREGROUND", "-f", config))
	if err := a.process.accepts(context.Background(), loopback(a.port)); err != nil {
		t.Fatal(err)
	}
	return a
}
