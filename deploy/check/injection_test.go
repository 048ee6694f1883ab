package check

import (
	"testing"

	"github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	plugin "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// variable is a policy's variable as the compiler takes it.
type variable admissionv1.Variable

func (v *variable) GetName() string        { return v.Name }
func (v *variable) GetExpression() string  { return v.Expression }
func (*variable) ReturnTypes() []*cel.Type { return []*cel.Type{cel.AnyType, cel.DynType} }

// admit does to a pod what the API server would do by the policy. It reports false when the policy leaves the pod alone.
func admit(t *testing.T, p *admissionv1.MutatingAdmissionPolicy, pod *corev1.Pod) (*corev1.Pod, bool) {
	t.Helper()
	compiler, err := plugin.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		t.Fatal(err)
	}
	options := plugin.OptionalVariableDeclarations{HasAuthorizer: true}
	var variables []plugin.NamedExpressionAccessor
	for i := range p.Spec.Variables {
		variables = append(variables, (*variable)(&p.Spec.Variables[i]))
	}
	compiler.CompileAndStoreVariables(variables, options, environment.StoredExpressions)

	ctx := compiler.CreateContext(t.Context())
	var conditions []plugin.ExpressionAccessor
	for i := range p.Spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&p.Spec.MatchConditions[i]))
	}
	matcher := matchconditions.NewMatcher(compiler.CompileCondition(conditions, options, environment.StoredExpressions),
		p.Spec.FailurePolicy, "policy", "validate", p.Name)
	match := matcher.Match(ctx, request(pod), nil, nil)
	if match.Error != nil {
		t.Fatal(match.Error)
	}
	if !match.Matches {
		return pod, false
	}
	options.HasPatchTypes = true
	for i, m := range p.Spec.Mutations {
		evaluator := compiler.CompileMutatingEvaluator(&patch.JSONPatchCondition{Expression: m.JSONPatch.Expression}, options, environment.StoredExpressions)
		patched, err := patch.NewJSONPatcher(evaluator).Patch(ctx, patch.Request{
			MatchedResource:     pods,
			VersionedAttributes: request(pod),
			ObjectInterfaces:    admission.NewObjectInterfacesFromScheme(knownTypes(t)),
		}, celconfig.RuntimeCELCostBudget)
		if err != nil {
			t.Fatalf("mutation %d: %v", i+1, err)
		}
		pod = patched.(*corev1.Pod)
	}
	return pod, true
}

var pods = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

func request(pod *corev1.Pod) *admission.VersionedAttributes {
	kind := schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	pod = pod.DeepCopy()
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	return &admission.VersionedAttributes{
		Attributes: admission.NewAttributesRecord(pod, nil, kind, pod.Namespace, pod.Name, pods, "", admission.Create,
			&metav1.CreateOptions{}, false, nil),
		VersionedKind:      kind,
		VersionedObject:    admission.NewLazyObject(pod),
		VersionedOldObject: admission.NewLazyObject(nil),
	}
}

// application is a pod as somebody writes it who knows nothing of the sidecar, but that pod security is restricted.
func application(change func(*corev1.Pod)) *corev1.Pod {
	yes, no, user := true, false, int64(1000)
	safe := &corev1.SecurityContext{
		RunAsNonRoot: &yes, RunAsUser: &user, AllowPrivilegeEscalation: &no,
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "shop", Labels: map[string]string{"warmpool": "sidecar"}},
		Spec: corev1.PodSpec{
			EnableServiceLinks: &no,
			Containers:         []corev1.Container{{Name: "shop", Image: "shop", SecurityContext: safe}},
		},
	}
	if change != nil {
		change(pod)
	}
	return pod
}

func TestTheInjectionPolicyGivesAPodItsSidecar(t *testing.T) {
	p := find[*admissionv1.MutatingAdmissionPolicy](t, rendered(t))
	group := int64(2000)
	for _, shape := range []struct {
		name       string
		change     func(*corev1.Pod)
		containers int
		configMap  string
		group      int64
	}{
		{name: "a bare pod", containers: 1, configMap: "warmpool", group: 65532},
		{name: "a pod with everything", containers: 2, configMap: "shop-pool", group: group, change: func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{"warmpool-config": "shop-pool"}
			safe := pod.Spec.Containers[0].SecurityContext
			pod.Spec.InitContainers = []corev1.Container{{Name: "migrate", Image: "shop", SecurityContext: safe}}
			pod.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}}
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "worker", Image: "shop", SecurityContext: safe})
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &group}
		}},
		{name: "a pod with a security context of its own", containers: 1, configMap: "warmpool", group: 65532, change: func(pod *corev1.Pod) {
			yes := true
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes}
		}},
	} {
		t.Run(shape.name, func(t *testing.T) {
			before := application(shape.change)
			pod, changed := admit(t, p, before)
			if !changed {
				t.Fatal("the policy leaves it alone")
			}
			sidecarIsRight(t, shape.name, &pod.Spec)
			for _, objection := range restricted(t, &pod.ObjectMeta, &pod.Spec) {
				t.Error(objection)
			}
			if got, want := len(pod.Spec.InitContainers), len(before.Spec.InitContainers)+1; got != want {
				t.Errorf("%d init containers, want %d", got, want)
			}
			if len(pod.Spec.Containers) != shape.containers || *pod.Spec.SecurityContext.FSGroup != shape.group {
				t.Errorf("%d containers, group %d; want %d and %d", len(pod.Spec.Containers), *pod.Spec.SecurityContext.FSGroup, shape.containers, shape.group)
			}
			for i, c := range pod.Spec.Containers {
				last := c.VolumeMounts[len(c.VolumeMounts)-1]
				if len(c.VolumeMounts) != len(before.Spec.Containers[i].VolumeMounts)+1 || last.MountPath != "/run/warmpool" {
					t.Errorf("%s mounts %v", c.Name, c.VolumeMounts)
				}
			}
			config := pod.Spec.Volumes[len(before.Spec.Volumes)].ConfigMap
			if config == nil || config.Name != shape.configMap {
				t.Errorf("its configuration is %v, want %s", config, shape.configMap)
			}
			if _, again := admit(t, p, pod); again {
				t.Error("the policy would add a second sidecar")
			}
		})
	}
}
