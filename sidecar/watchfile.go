package sidecar

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// watchPace is the pause between two looks at the files.
const watchPace = time.Second

// follow reloads when the configuration file, or one that it names, has changed.
//
// It looks again and again and asks for no notice: a notice is bound to a file
// that editors and Kubernetes replace (a ConfigMap swaps the symbolic link of a
// folder on the way), that may be gone for a while, and of which there are few for
// all processes of a machine. A look costs a stat of each file.
//
// What has changed is taken once two looks in a row have found the same, so that
// a file which is being written is not taken for what it will be.
func (r *reloader) follow(ctx context.Context) {
	if r.source.File == "" {
		return
	}
	tick := time.NewTicker(watchPace)
	defer tick.Stop()
	taken := r.seen()
	last := taken
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := r.seen()
		settled := slices.Equal(now, last)
		last = now
		if !settled || slices.Equal(now, taken) {
			continue
		}
		taken = now
		if !r.differs() {
			continue // touched, or moved with what is in it
		}
		_, _ = r.reload("the file changed", false) // told in the log, as an event and by GetConfig
		// A file that names others than before is followed to those.
		taken = r.seen()
		last = taken
	}
}

// look is what one look at a file has found.
type look struct {
	path string // with symbolic links followed
	size int64
	at   time.Time
	id   fileID
	gone bool
}

// seen looks at the file and at all that it names.
func (r *reloader) seen() []look {
	r.mu.Lock()
	files := slices.Clone(r.mu.files)
	r.mu.Unlock()
	names := []string{r.source.File}
	for _, f := range files {
		if !slices.Contains(names, f.Path) {
			names = append(names, f.Path)
		}
	}
	looks := make([]look, len(names))
	for i, name := range names {
		looks[i] = lookAt(name)
	}
	return looks
}

func lookAt(name string) look {
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		return look{gone: true}
	}
	info, err := os.Stat(path)
	if err != nil {
		return look{gone: true}
	}
	return look{path: path, size: info.Size(), at: info.ModTime(), id: idOf(info)}
}

// differs reports whether the files hold anything else than those in force, or
// the ones that were refused last.
func (r *reloader) differs() bool {
	r.mu.Lock()
	files, refused := slices.Clone(r.mu.files), len(r.mu.problems) > 0
	r.mu.Unlock()
	if refused || len(files) == 0 {
		return true
	}
	for _, f := range files {
		content, err := os.ReadFile(f.Path)
		if err != nil || sha256.Sum256(content) != f.SHA256 {
			return true
		}
	}
	return false
}
