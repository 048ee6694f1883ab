package check

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// imageLimit bounds each step of what is done with the image.
const imageLimit = 3 * time.Minute

// runners start the image, each in its own way, with the folders of the configuration and of the sockets mounted. They
// differ in what they need of the machine: a real container needs cgroups and the right to make namespaces.
var runners = []struct {
	program string
	args    []string
}{
	{"podman", []string{"run", "--rm", "--network=host", "--read-only", "--cap-drop=all", "-v", "%CONFIG%:/etc/warmpool:ro", "-v", "%RUN%:/run/warmpool", "%IMAGE%"}},
	{"docker", []string{"run", "--rm", "--network=host", "--read-only", "--cap-drop=all", "-v", "%CONFIG%:/etc/warmpool:ro", "-v", "%RUN%:/run/warmpool", "%IMAGE%"}},
	{"buildah", []string{"run", "--isolation=chroot", "-v", "%CONFIG%:/etc/warmpool:ro", "-v", "%RUN%:/run/warmpool", "%CONTAINER%", "--", "/warmpool", "serve", "-c", "/etc/warmpool/warmpool.yaml"}},
}

func TestTheImageServesAndStopsAsANobody(t *testing.T) {
	builder := builderOf(t)
	const image = "warmpool:check"
	made := exec.Command("make", "-C", "../..", "image", "IMAGE="+image, "BUILDER="+builder)
	if out, err := made.CombinedOutput(); err != nil {
		t.Fatalf("make image: %v\n%s", err, out)
	}
	binary, err := filepath.Abs("../../.ci/out/image/warmpool")
	if err != nil {
		t.Fatal(err)
	}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "from "+r.URL.Path) }))
	defer upstream.Close()

	var why []string
	for _, r := range runners {
		if _, err := exec.LookPath(r.program); err != nil {
			continue
		}
		instance, output, err := start(t, r.program, r.args, image, upstream.URL)
		if err != nil {
			why = append(why, fmt.Sprintf("%s: %v: %s", r.program, err, lastLine(output.String())))
			continue
		}
		t.Logf("the image was built by %s and run by %s", builder, strings.Join(append([]string{r.program}, r.args[:2]...), " "))
		out, err := exec.Command(binary, "send", "upstream", "/image", "-s", "unix://"+instance.socket).CombinedOutput()
		if err != nil || string(out) != "from /image" {
			t.Errorf("the call: %v\n%s\n%s", err, out, output)
		}
		info, err := os.Stat(instance.socket)
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 65532 {
			t.Errorf("it runs as user %d, want 65532", owner)
		}
		instance.stop(t, output)
		return
	}
	t.Skipf("the image is built, and not run; nothing on this machine can run it: %s", strings.Join(why, "; "))
}

// builderOf is the program that builds images here.
func builderOf(t *testing.T) string {
	t.Helper()
	for _, builder := range []string{"buildah", "podman", "docker"} {
		if builder == "docker" && exec.Command("docker", "info").Run() != nil {
			continue // only the client, with nothing behind it
		}
		if _, err := exec.LookPath(builder); err == nil {
			return builder
		}
	}
	if os.Getenv("E2E_REQUIRE") != "" { // as end-to-end tests take it
		t.Fatal("the image is not built: install the package buildah")
	}
	t.Skip("the image is neither built nor run: install the package buildah")
	return ""
}

// instance is the image at work.
type instance struct {
	command *exec.Cmd
	socket  string
	ended   chan error
}

func start(t *testing.T, program string, args []string, image, upstream string) (*instance, *bytes.Buffer, error) {
	t.Helper()
	folder, run := t.TempDir(), t.TempDir()
	config := fmt.Sprintf("listen: [\"unix:///run/warmpool/warmpool.sock\"]\nadmin: \"off\"\nupstreams: [{name: upstream, url: %q}]\n", upstream)
	if err := os.WriteFile(filepath.Join(folder, "warmpool.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, public := range []string{folder, filepath.Dir(folder), run} {
		if err := os.Chmod(public, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	container := ""
	if program == "buildah" {
		out, err := exec.Command("buildah", "from", image).Output()
		if err != nil {
			return nil, new(bytes.Buffer), fmt.Errorf("buildah from: %w", err)
		}
		container = strings.TrimSpace(string(out))
		t.Cleanup(func() { _ = exec.Command("buildah", "rm", container).Run() })
	}
	fill := strings.NewReplacer("%CONFIG%", folder, "%RUN%", run, "%IMAGE%", image, "%CONTAINER%", container)
	filled := make([]string, len(args))
	for i, a := range args {
		filled[i] = fill.Replace(a)
	}
	output := new(bytes.Buffer)
	in := &instance{command: exec.Command(program, filled...), socket: filepath.Join(run, "warmpool.sock"), ended: make(chan error, 1)}
	in.command.Stdout, in.command.Stderr = output, output
	in.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := in.command.Start(); err != nil {
		return nil, output, err
	}
	go func() { in.ended <- in.command.Wait() }()
	for limit := time.Now().Add(imageLimit); ; {
		if _, err := os.Stat(in.socket); err == nil {
			return in, output, nil
		}
		select {
		case err := <-in.ended:
			return nil, output, fmt.Errorf("it ended: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(limit) {
			_ = syscall.Kill(-in.command.Process.Pid, syscall.SIGKILL)
			return nil, output, fmt.Errorf("no socket after %v", imageLimit)
		}
	}
}

// stop ends the instance as the kubelet would, by SIGTERM to its first process, and waits.
func (in *instance) stop(t *testing.T, output *bytes.Buffer) {
	t.Helper()
	if err := syscall.Kill(in.process(t), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-in.ended:
		if !strings.Contains(output.String(), `"msg":"stopped"`) {
			t.Errorf("it ended with %v before it had drained:\n%s", err, output)
		}
	case <-time.After(imageLimit):
		_ = syscall.Kill(-in.command.Process.Pid, syscall.SIGKILL)
		t.Errorf("it does not stop:\n%s", output)
	}
}

// process is the one behind the socket, whoever started it.
func (in *instance) process(t *testing.T) int {
	t.Helper()
	conn, err := net.Dial("unix", in.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var peer *syscall.Ucred
	if err := raw.Control(func(fd uintptr) {
		peer, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return int(peer.Pid)
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
