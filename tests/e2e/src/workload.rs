//! What scenarios run on a cluster: a pod that serves a page, its service, and a pod that fetches it.

/// Image of both pods, in every image cache.
pub const IMAGE: &str = "corten.local/hello:1";

/// A page, and the service in front of it.
pub const HELLO: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: hello
  namespace: default
  labels: {app: hello}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: hello
    image: corten.local/hello:1
    imagePullPolicy: IfNotPresent
    ports: [{containerPort: 8080}]
    securityContext: {allowPrivilegeEscalation: false, runAsNonRoot: true, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
---
apiVersion: v1
kind: Service
metadata:
  name: hello
  namespace: default
spec:
  selector: {app: hello}
  ports: [{port: 80, targetPort: 8080}]
";

/// Fetches the page by the service's name. A failed try is repeated by the kubelet, at first right away.
pub const PROBE: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: probe
  namespace: default
spec:
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 1
  containers:
  - name: probe
    image: corten.local/hello:1
    imagePullPolicy: IfNotPresent
    args: [get, 'http://hello.default.svc.cluster.local/']
    securityContext: {allowPrivilegeEscalation: false, runAsNonRoot: true, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
";
