{{/*
  What the operator does to the objects of the namespaces that it looks after, and nothing else: a test compares these
  rules with the requests that it sends.
*/}}
{{- define "upright.rules" -}}
- apiGroups: [upright.dev]
  resources: [trainingjobs, modelversions, deployments]
  verbs: [get, list, watch]
- apiGroups: [upright.dev]
  resources: [modelversions]
  verbs: [create]
- apiGroups: [upright.dev]
  resources: [comparisons]
  verbs: [get, list, watch, create, update, delete]
- apiGroups: [upright.dev]
  resources: [trainingjobs/status, modelversions/status, deployments/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Listed and watched by metadata alone, to know when one appears or changes; contents are read one at a time, by name.
- apiGroups: [""]
  resources: [persistentvolumeclaims, configmaps]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [get, list, create, patch]
# What is owned goes before its owner (blockOwnerDeletion): some clusters want this right of who says so.
- apiGroups: [upright.dev]
  resources: [trainingjobs/finalizers, deployments/finalizers]
  verbs: [update]
{{- end }}
