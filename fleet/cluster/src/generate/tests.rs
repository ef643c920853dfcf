//! One configuration, and what each input does to it.

use corten_config::Config;
use corten_config::node::Node;

use super::*;
use crate::patches::forbidden;
use crate::testing::bundle;

const JOIN_DOCUMENTS: &str = "apiVersion: v1alpha1\nkind: SideroLinkConfig\n\
                              apiUrl: grpc://[::1]:8090?jointoken=hunter2\n---\n\
                              apiVersion: v1alpha1\nkind: EventSinkConfig\nendpoint: '[::1]:8090'\n";
const ENDPOINT: &str = "https://[fdae:41e4:649b:9303::1]:10000";

/// Inputs that own what they are made of.
struct Case {
    role: Role,
    audience: Audience,
    initial_version: String,
    image: InstallImage,
    disk: MachineInstallDiskStatus,
    patches: Vec<NamedPatch>,
    accepted: Option<CertificateAuthorities>,
}

impl Default for Case {
    fn default() -> Self {
        let image = InstallImage { talos_version: "1.12.4".to_owned(), ..InstallImage::default() };
        let image = InstallImage { schematic_initialized: true, schematic_invalid: true, ..image };
        let disk = MachineInstallDiskStatus { disk: "/dev/vda".to_owned(), ..Default::default() };
        let disk = MachineInstallDiskStatus { selection_hash: "wish".to_owned(), ..disk };
        Self {
            role: Role::ControlPlane,
            audience: Audience::Manager,
            initial_version: "1.12.0".to_owned(),
            image,
            disk,
            patches: Vec::new(),
            accepted: None,
        }
    }
}

impl Case {
    fn patched(texts: &[&str]) -> Self {
        let patch = |(index, text): (usize, &&str)| NamedPatch {
            id: format!("50{index}-p"),
            text: Secret::new((*text).to_owned()),
        };
        Self { patches: texts.iter().enumerate().map(patch).collect(), ..Self::default() }
    }

    fn made(&self) -> Result<Generated, GenerationError> {
        configuration(&Inputs {
            cluster: "prod",
            role: self.role,
            audience: self.audience,
            initial_version: &self.initial_version,
            kubernetes_version: "1.35.4",
            endpoint: ENDPOINT,
            secrets: bundle(),
            accepted: self.accepted.as_ref(),
            image: &self.image,
            plain_installer: "ghcr.io/siderolabs/installer",
            disk: &self.disk,
            disk_wish: "wish",
            patches: &self.patches,
            join_documents: JOIN_DOCUMENTS,
            preserved: Preserved::default(),
        })
    }

    fn text(&self) -> String {
        self.made().unwrap_or_else(|error| panic!("{}", chain(&error))).documents.reveal().clone()
    }

    fn error(&self) -> String {
        chain(&self.made().unwrap_err())
    }
}

/// The document without `kind`, and how many documents there are.
fn root(text: &str) -> (Node, usize) {
    let mut documents = corten_config::read::documents(text).unwrap();
    let count = documents.len();
    (documents.remove(0), count)
}

fn found<'a>(node: &'a Node, path: &str) -> Option<&'a str> {
    node.at_path(&path.split('.').collect::<Vec<_>>()).and_then(Node::as_text)
}

#[test]
fn a_configuration_has_what_the_manager_decides() {
    let (root, count) = root(&Case::default().text());
    assert_eq!(found(&root, "machine.type"), Some("controlplane"));
    assert_eq!(found(&root, "cluster.controlPlane.endpoint"), Some(ENDPOINT));
    assert_eq!(found(&root, "cluster.clusterName"), Some("prod"));
    assert_eq!(found(&root, "machine.install.disk"), Some("/dev/vda"));
    assert_eq!(found(&root, "machine.install.image"), Some("ghcr.io/siderolabs/installer:v1.12.4"));
    assert_eq!(found(&root, "machine.features.kubePrism.port"), Some("7445"));
    assert!(found(&root, "machine.kubelet.image").unwrap().ends_with(":v1.35.4"));
    assert_eq!(count, 4, "the machine, its host name, and two to join");
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let (a, b) = (Case::default().made().unwrap(), Case::default().made().unwrap());
    assert_eq!(a, b);
    let other = Case { role: Role::Worker, ..Case::default() }.made().unwrap();
    assert!(a.sha256.len() == 64 && a.sha256 != other.sha256);
}

#[test]
fn a_worker_has_no_keys_of_authorities() {
    let (root, _) = root(&Case { role: Role::Worker, ..Case::default() }.text());
    assert_eq!(found(&root, "machine.type"), Some("worker"));
    assert_eq!(found(&root, "machine.ca.key").unwrap_or_default(), "");
    assert_eq!(found(&root, "cluster.ca.key").unwrap_or_default(), "");
}

#[test]
fn the_form_is_that_of_the_initial_version() {
    let (root, count) = root(&Case { initial_version: "v1.9.0".to_owned(), ..Case::default() }.text());
    assert_eq!(count, 3, "no document for the host name");
    assert_eq!(found(&root, "machine.features.stableHostname"), Some("true"));
    assert_eq!(found(&root, "machine.install.grubUseUKICmdline"), None);
    assert_eq!(found(&root, "machine.install.image"), Some("ghcr.io/siderolabs/installer:v1.12.4"));
    let error = Case { initial_version: "new".to_owned(), ..Case::default() }.error();
    assert!(error.contains("cluster `prod`") && error.contains("\"new\""), "{error}");
}

#[test]
fn patches_apply_in_their_order() {
    let text = Case::patched(&[
        "machine: {sysctls: {vm.swappiness: '1', kernel.x: '1'}}",
        "machine: {sysctls: {vm.swappiness: '2'}}",
    ])
    .text();
    assert!(text.contains("vm.swappiness: \"2\"") && text.contains("kernel.x: \"1\""), "{text}");
}

/// A configuration of a cluster that was created with 1.14, read by this audience.
fn of_1_14(audience: Audience) -> Case {
    let image = InstallImage { talos_version: "1.14.1".to_owned(), ..Case::default().image };
    Case { initial_version: "1.14.0".to_owned(), audience, image, ..Case::default() }
}

#[test]
fn since_1_14_stock_machines_have_documents_and_what_to_install_in_the_one_without_kind() {
    let text = of_1_14(Audience::Manager).text();
    let (root, count) = root(&text);
    assert!(count > 20, "{count}");
    assert_eq!(found(&root, "cluster.controlPlane.endpoint"), None);
    assert!(text.contains("kind: KubeClusterConfig") && !text.contains("UnattendedInstallConfig"), "{text}");
    assert_eq!(found(&root, "machine.install.disk"), Some("/dev/vda"));
    assert_eq!(found(&root, "machine.install.image"), Some("ghcr.io/siderolabs/installer:v1.14.1"));
}

#[test]
fn machines_of_ours_get_the_newest_form_that_they_read_and_nothing_else() {
    let text = of_1_14(Audience::Machine).text();
    assert!(Config::parse(text.as_bytes()).is_ok());
    assert!(!text.contains("kind: KubeClusterConfig"));
    let bgp = "kind: BGPInstanceConfig\napiVersion: v1alpha1\nname: a\nlocalASN: 65000\n";
    let ours = Case { audience: Audience::Machine, ..Case::patched(&[bgp]) };
    let error = ours.error();
    assert!(
        error.contains("patch `500-p`") && error.contains("BGPInstanceConfig is not yet supported"),
        "{error}"
    );
    let text = Case::patched(&[bgp]).text();
    assert!(text.contains("kind: BGPInstanceConfig\nname: a\nlocalASN: 65000\n"), "{text}");
}

#[test]
fn documents_of_stock_machines_are_laid_over_each_other_and_join_documents_are_last() {
    let vlan = "kind: VLANConfig\napiVersion: v1alpha1\nname: eth0.1\nvlanID: 1\nparent: eth0\n";
    let text = Case::patched(&[
        &format!("machine: {{sysctls: {{a.b: '1'}}}}\n---\n{vlan}"),
        "kind: VLANConfig\napiVersion: v1alpha1\nname: eth0.1\nmtu: 1400\n",
        "kind: SideroLinkConfig\napiVersion: v1alpha1\napiUrl: grpc://evil\n",
    ])
    .text();
    assert!(text.contains("a.b: \"1\"") && text.contains("parent: eth0\nmtu: 1400\n"), "{text}");
    assert!(!text.contains("evil"));
    assert!(text.ends_with(&format!("---\n{JOIN_DOCUMENTS}")), "{text}");
}

#[test]
fn an_error_names_the_patch_and_the_field() {
    let error = Case::patched(&["machine: {}", "machine: {netwrk: {}}"]).error();
    assert!(error.contains("patch `501-p`") && error.contains("machine.netwrk: unknown key"), "{error}");
    let error = Case::patched(&["machine: ["]).error();
    assert!(error.contains("patch `500-p` cannot be read"), "{error}");
    let error = Case::patched(&["machine: {nodeLabels: {x: {$patch: delete}}}"]).error();
    assert!(error.contains("patch `500-p`") && error.contains("machine.nodeLabels.x"), "{error}");
}

#[test]
fn what_patches_may_not_change_is_refused() {
    let error = Case::patched(&["machine: {token: mine, install: {disk: /dev/sdb}}"]).error();
    assert!(error.contains("patch `500-p`"), "{error}");
    assert!(error.contains("machine.token") && error.contains("machine.install.disk"), "{error}");
}

#[test]
fn the_install_disk_stays_whatever_patches_say() {
    let case = Case::patched(&["machine: {install: {wipe: true, diskSelector: {type: nvme}}}"]);
    let (root, _) = root(&case.text());
    assert_eq!(found(&root, "machine.install.disk"), Some("/dev/vda"));
    assert_eq!(found(&root, "machine.install.wipe"), Some("true"));
    assert!(root.at_path(&["machine", "install", "diskSelector"]).is_none());
}

#[test]
fn pods_do_not_become_administrators() {
    // Patches with the role are refused, so it can only come from what the manager applies itself.
    let text = Case::default().text();
    let mut assembly = Assembly::parse(&text, Audience::Manager).unwrap();
    for roles in ["[os:reader, os:admin]", "[os:admin]"] {
        let access = format!("{{kubernetesTalosAPIAccess: {{enabled: true, allowedRoles: {roles}}}}}");
        assembly.apply(MANAGER, &format!("machine: {{features: {access}}}")).unwrap();
        assert!(assembly.strip_role().unwrap());
        assert!(!assembly.text().contains("os:admin"));
    }
    assert!(assembly.text().contains("os:reader") && !assembly.strip_role().unwrap());
    let document = "kind: KubeTalosAPIAccessConfig\napiVersion: v1alpha1\n\
                    allowedRoles: [os:etcd:backup, os:admin]\n";
    assembly.apply(MANAGER, document).unwrap();
    assert!(assembly.strip_role().unwrap());
    assert!(assembly.text().contains("os:etcd:backup") && !assembly.text().contains("os:admin"));
    let patch = "machine: {features: {kubernetesTalosAPIAccess: {allowedRoles: [os:admin]}}}";
    assert_eq!(forbidden(&crate::patches::Patch::parse(patch).unwrap()).len(), 1);
}

#[test]
fn a_disk_that_answers_an_older_wish_is_waited_for() {
    let mut case = Case::default();
    "older".clone_into(&mut case.disk.selection_hash);
    assert!(case.made().unwrap_err().is_wait());
    let mut case = Case::default();
    case.disk.disk.clear();
    "it has none".clone_into(&mut case.disk.message);
    assert!(!case.made().unwrap_err().is_wait());
    assert!(case.error().contains("it has none"));
}

#[test]
fn a_schematic_that_is_not_known_is_waited_for() {
    let mut case = Case::default();
    case.image.schematic_initialized = false;
    assert!(case.made().unwrap_err().is_wait());
}

#[test]
fn while_a_rotation_runs_both_authorities_are_trusted() {
    let authority = |crt: &str| Some(CertificateAuthority { crt: crt.as_bytes().to_vec(), key: Vec::new() });
    let accepted = CertificateAuthorities { os: authority("talos"), k8s: authority("kubernetes") };
    let text = Case { accepted: Some(accepted.clone()), ..of_1_14(Audience::Manager) }.text();
    let (root, _) = root(&text);
    let accepts = |section: &str| root.at_path(&[section, "acceptedCAs"]).is_some();
    assert!(accepts("machine") && !accepts("cluster"));
    assert!(text.contains("acceptedCAs:\n    - kubernetes\n"), "{text}");
    let text = Case { accepted: Some(accepted), ..Case::default() }.text();
    let config = Config::parse(text.split("---\n").next().unwrap_or_default().as_bytes()).unwrap();
    let view = config.view();
    assert_eq!(view.machine.accepted_cas, [b"talos".to_vec()]);
    assert_eq!(view.cluster.accepted_cas, [b"kubernetes".to_vec()]);
}

#[test]
fn the_redacted_form_has_no_secrets() {
    let case = Case::patched(&["kind: WireguardConfig\napiVersion: v1alpha1\nname: w\nprivateKey: hunter2"]);
    let redacted = case.made().unwrap().redacted;
    let secrets = bundle();
    for secret in [&secrets.trustd_token, &secrets.bootstrap_token, &secrets.cluster_secret] {
        assert!(!redacted.contains(secret.reveal().as_str()));
    }
    assert!(!redacted.contains("hunter2") && redacted.contains("jointoken=REDACTED"), "{redacted}");
}

#[test]
fn after_an_error_the_former_documents_stay() {
    let former = Case::default().made().unwrap().spec();
    let error = Case::patched(&["machine: ["]).made().unwrap_err();
    let kept = failed(Some(&former), &error);
    assert_eq!(kept.data, former.data);
    assert!(kept.generation_error.contains("500-p"));
    assert!(failed(None, &error).data.is_empty());
}

#[test]
fn a_machine_on_which_nothing_is_installed_needs_no_disk() {
    let nowhere = MachineInstallDiskStatus { disk: String::new(), ..Case::default().disk };
    let (root, _) = root(&Case { disk: nowhere.clone(), ..Case::default() }.text());
    assert_eq!(found(&root, "machine.install.disk").unwrap_or_default(), "");
    let none_fits = MachineInstallDiskStatus { message: "no disk fits".to_owned(), ..nowhere };
    assert!(Case { disk: none_fits, ..Case::default() }.error().contains("no disk fits"));
}
