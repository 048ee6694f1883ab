// Package check holds deploy's files against what would read them: Kubernetes' own types, its "restricted" pod security
// evaluator, the admission plugin that carries out the injection policy, Helm, Kustomize, and warmpool itself. It needs no
// cluster. It is a module of its own, so that nobody who imports warmpool inherits Kubernetes.
package check
