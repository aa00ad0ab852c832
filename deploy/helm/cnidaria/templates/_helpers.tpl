{{/* A manifest of deploy/kustomize, in the release's namespace. */}}
{{- define "cnidaria.manifest" -}}
{{- $namespace := .root.Release.Namespace -}}
{{- .root.Files.Get (printf "files/%s.yaml" .name)
    | replace "namespace: kube-system" (printf "namespace: %s" $namespace)
    | replace "system:serviceaccount:kube-system:" (printf "system:serviceaccount:%s:" $namespace) -}}
{{- end }}

{{/* The container that a kustomize component patches. */}}
{{- define "cnidaria.patched" -}}
{{- $pod := (fromYaml (.root.Files.Get (printf "files/%s.yaml" .name))).spec.template.spec -}}
{{- toYaml (first (get $pod .containers)) -}}
{{- end }}
