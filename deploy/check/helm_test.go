package check

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestTheChartRefusesValuesThatItDoesNotKnow(t *testing.T) {
	for _, bad := range []struct{ value, says string }{
		{"injektion.enabled=true", "injektion"},
		{"injection.failurePolicy=Maybe", "failurePolicy"},
		{"injection.configMap=Not_A_Name", "configMap"},
		{"image.pullPolicy=Sometimes", "pullPolicy"},
		{"podMonitor.interval=thirty", "interval"},
		{"node.resources.request.cpu=1", "request"},
		{"config.upstreams[0].name=payments", "url"},
		{"networkPolicy.callerLabels=null", "callerLabels"},
		{"networkPolicy.callerLabels.warmpool=null", "callerLabels"},
		{"node.tlsSecret=", "tlsSecret"},
	} {
		if out, err := template(bad.value); err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s: %v\n%s", bad.value, err, out)
		}
	}
}

func TestTheChartMakesWhatIsAskedFor(t *testing.T) {
	count := func(values ...string) map[string]int {
		kinds := make(map[string]int)
		for _, m := range rendered(t, values...) {
			kinds[m.object.GetObjectKind().GroupVersionKind().Kind]++
		}
		return kinds
	}
	for kind, want := range map[string]int{
		"ConfigMap": 4, "MutatingAdmissionPolicy": 1, "MutatingAdmissionPolicyBinding": 1, "DaemonSet": 1, "Service": 1,
		"NetworkPolicy": 1, "PodMonitor": 2,
	} {
		if got := count(everyValue...)[kind]; got != want {
			t.Errorf("%d of %s, want %d", got, kind, want)
		}
	}
	if kinds := count("injection.enabled=false"); len(kinds) != 0 {
		t.Errorf("with nothing enabled: %v", kinds)
	}
	local := corev1.ServiceInternalTrafficPolicyLocal
	for _, all := range [][]manifest{scenarios(t), rendered(t, everyValue...)} {
		if s := find[*corev1.Service](t, all); s.Spec.InternalTrafficPolicy == nil || *s.Spec.InternalTrafficPolicy != local {
			t.Errorf("the Service %s leads to other nodes", s.Name)
		}
	}
}
