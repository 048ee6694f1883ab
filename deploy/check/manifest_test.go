package check

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// manifest is one object of a file, or of what a tool makes of several.
type manifest struct {
	from   string // where it stands
	object runtime.Object
}

func (m manifest) String() string {
	if named, ok := m.object.(metav1.Object); ok {
		return fmt.Sprintf("%s: %s %s", m.from, m.object.GetObjectKind().GroupVersionKind().Kind, named.GetName())
	}
	return m.from
}

// pod is the pod that an object makes, if it makes any.
func (m manifest) pod() *corev1.PodTemplateSpec {
	switch o := m.object.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *appsv1.DaemonSet:
		return &o.Spec.Template
	case *batchv1.Job:
		return &o.Spec.Template
	}
	return nil
}

func knownTypes(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, networkingv1.AddToScheme, admissionv1.AddToScheme,
		monitoringv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

// decode reads a stream of documents strictly: an unknown or repeated key is an error.
func decode(t *testing.T, from string, text []byte) []manifest {
	t.Helper()
	decoder := serializer.NewCodecFactory(knownTypes(t), serializer.EnableStrict).UniversalDeserializer()
	var all []manifest
	documents := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text)))
	defer documents.Close()
	for buffer := make([]byte, 1<<20); ; {
		n, err := documents.Read(buffer)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", from, err)
		}
		if onlyComments(buffer[:n]) {
			continue
		}
		object, _, err := decoder.Decode(buffer[:n], nil, nil)
		if err != nil {
			t.Errorf("%s, document %d: %v", from, len(all)+1, err)
			continue
		}
		all = append(all, manifest{from, object})
	}
}

func onlyComments(document []byte) bool {
	for line := range bytes.Lines(document) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && string(line) != "---" {
			return false
		}
	}
	return true
}

// scenarios are the manifests that are ready to be applied.
func scenarios(t *testing.T) []manifest {
	t.Helper()
	files, err := fs.Glob(os.DirFS("../kubernetes"), "*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests in ../kubernetes: %v", err)
	}
	var all []manifest
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join("../kubernetes", file))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, decode(t, "kubernetes/"+file, text)...)
	}
	return all
}

// kustomized is what Kustomize makes of the example.
func kustomized(t *testing.T) []manifest {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../kustomize/example")
	if err != nil {
		t.Fatal(err)
	}
	text, err := made.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, "kustomize/example", text)
}

// rendered is what Helm makes of the chart with the values given as for --set.
func rendered(t *testing.T, values ...string) []manifest {
	t.Helper()
	text, err := template(values...)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, "helm/warmpool "+strings.Join(values, " "), text)
}

// template renders the chart by the pinned Helm.
func template(values ...string) ([]byte, error) {
	args := []string{
		"tool", "-modfile=../../.ci/tools/helm/go.mod", "helm", "template", "warmpool", "../helm/warmpool",
		"--namespace", "tools", "--kube-version", "1.36.0",
	}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	command := exec.Command("go", args...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("helm template: %w\n%s", err, stderr.Bytes())
	}
	return out, nil
}

// everyValue turns on everything that the chart can make.
var everyValue = []string{"node.enabled=true", "podMonitor.enabled=true", "injection.namespaces={shop,billing}", "injection.namespaceLabels.team=shop"}

// everything is all that is deployed from here.
func everything(t *testing.T) []manifest {
	t.Helper()
	all := append(scenarios(t), kustomized(t)...)
	all = append(all, rendered(t)...)
	return append(all, rendered(t, everyValue...)...)
}

func find[T runtime.Object](t *testing.T, all []manifest) T {
	t.Helper()
	for _, m := range all {
		if o, ok := m.object.(T); ok {
			return o
		}
	}
	var none T
	t.Fatalf("there is no %T", none)
	return none
}
