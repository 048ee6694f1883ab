package check

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// restricted says what the "restricted" pod security standard has against a pod.
func restricted(t *testing.T, meta *metav1.ObjectMeta, spec *corev1.PodSpec) []string {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var objections []string
	for _, r := range evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, meta, spec) {
		if !r.Allowed {
			objections = append(objections, r.ForbiddenReason+": "+r.ForbiddenDetail)
		}
	}
	return objections
}

func TestEveryPodIsAllowedWherePodSecurityIsRestricted(t *testing.T) {
	pods := 0
	for _, m := range everything(t) {
		pod := m.pod()
		if pod == nil {
			continue
		}
		pods++
		for _, objection := range restricted(t, &pod.ObjectMeta, &pod.Spec) {
			t.Errorf("%s: %s", m, objection)
		}
	}
	if pods < 6 {
		t.Errorf("%d pods were looked at, want those of 4 scenarios, of Kustomize and of Helm", pods)
	}
	bad := &corev1.PodSpec{Containers: []corev1.Container{{Name: "root"}}}
	if len(restricted(t, &metav1.ObjectMeta{}, bad)) == 0 {
		t.Error("the evaluator allows anything")
	}
}

func TestEveryPodHasTheSidecarAsItNeedsToBe(t *testing.T) {
	for _, m := range everything(t) {
		if pod := m.pod(); pod != nil {
			sidecarIsRight(t, m.String(), &pod.Spec)
		}
	}
}

// sidecarIsRight checks what no type can: the order of things, and what each needs of another.
func sidecarIsRight(t *testing.T, name string, spec *corev1.PodSpec) {
	t.Helper()
	isWarmpool := func(c corev1.Container) bool { return c.Name == "warmpool" }
	plain := slices.IndexFunc(spec.Containers, isWarmpool)
	native := slices.IndexFunc(spec.InitContainers, isWarmpool)
	var c corev1.Container
	switch {
	case native == 0:
		c = spec.InitContainers[0]
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			t.Errorf("%s: an init container that does not stay: restartPolicy must be Always", name)
		}
		if c.StartupProbe == nil {
			t.Errorf("%s: without a startup probe the application does not wait for the pool", name)
		}
		if c.ReadinessProbe != nil {
			t.Errorf("%s: a native sidecar's readiness counts into the pod's", name)
		}
	case plain == 0:
		c = spec.Containers[0]
		if len(spec.Containers) > 1 && (c.Lifecycle == nil || c.Lifecycle.PostStart == nil) {
			t.Errorf("%s: without postStart the application does not wait for the pool", name)
		}
	default:
		t.Errorf("%s: no container named warmpool comes first", name)
		return
	}
	for _, any := range slices.Concat(spec.InitContainers, spec.Containers) {
		if any.Lifecycle != nil && any.Lifecycle.PreStop != nil {
			t.Errorf("%s: %s has a preStop, which runs while the application still works", name, any.Name)
		}
	}
	if c.LivenessProbe != nil && c.LivenessProbe.HTTPGet.Path != "/livez" {
		t.Errorf("%s: liveness asks %s: it must depend on nothing", name, c.LivenessProbe.HTTPGet.Path)
	}
	if spec.EnableServiceLinks == nil || *spec.EnableServiceLinks {
		t.Errorf("%s: service links set variables named WARMPOOL_…", name)
	}
	if spec.SecurityContext == nil || spec.SecurityContext.FSGroup == nil {
		t.Errorf("%s: without fsGroup the containers share no group that may write to the socket", name)
	}
	if _, bounded := c.Resources.Limits[corev1.ResourceMemory]; !bounded {
		t.Errorf("%s: no memory limit, so no GOMEMLIMIT", name)
	}
	mounted := make(map[string]string)
	for _, mount := range c.VolumeMounts {
		mounted[mount.MountPath] = mount.Name
		if mount.SubPath != "" {
			t.Errorf("%s: %s is a subPath, which never follows the ConfigMap", name, mount.MountPath)
		}
	}
	for _, path := range []string{"/etc/warmpool", "/run/warmpool"} {
		i := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == mounted[path] })
		if i < 0 {
			t.Errorf("%s: no volume at %s", name, path)
			continue
		}
		v := spec.Volumes[i]
		if path == "/run/warmpool" && (v.EmptyDir == nil || v.EmptyDir.Medium != corev1.StorageMediumMemory) {
			t.Errorf("%s: the sockets are not in memory", name)
		}
	}
	for _, port := range c.Ports {
		if strings.HasSuffix(port.Name, "admin") && port.ContainerPort != 7601 {
			t.Errorf("%s: the admin port is %d", name, port.ContainerPort)
		}
	}
}
