//! What a machine refuses by name and a manager takes, and what both refuse.

use crate::node::Node;
use crate::schema::{LATER_DOCUMENTS, Record, Type};
use crate::{Audience, Config, Patch, write};

const ROOT: &str = "version: v1alpha1
machine:
    type: worker # tagged
    env: {HTTP_PROXY: 'http://proxy:3128'}
    systemDiskEncryption: {state: {provider: luks2, keys: [{slot: 0, tpm: {}}]}}
    network: {kubespan: {enabled: true}}
    udev: {rules: [x]}
cluster: {}
";

const BGP: &str = "apiVersion: v1alpha1\nkind: BGPInstanceConfig\nname: a\nlocalASN: 65000\n";
const VLAN: &str = "apiVersion: v1alpha1\nkind: VLANConfig\nname: a.5\nvlanID: 5\nparent: a\n";

fn manager(text: &str) -> Result<Config, String> {
    Config::parse_for(text.as_bytes(), Audience::Manager).map_err(|problems| problems.to_string())
}

fn machine(text: &str) -> String {
    Config::parse(text.as_bytes()).unwrap_err().to_string()
}

/// The documents after these patches.
fn patched(texts: &[&str]) -> String {
    let read = |text: &&str| Patch::parse_for(text.as_bytes(), Audience::Manager).unwrap();
    let patches: Vec<Patch> = texts.iter().map(read).collect();
    manager("").unwrap().patched(&patches).unwrap_or_else(|error| panic!("{error:?}")).text().to_owned()
}

#[test]
fn what_a_machine_refuses_by_name_a_manager_takes_byte_for_byte() {
    let text = format!("{ROOT}---\n{BGP}");
    let config = manager(&text).unwrap();
    assert_eq!(config.text(), text);
    assert_eq!((config.audience(), config.documents().len()), (Audience::Manager, 2));
    assert_eq!(config.warnings().to_string(), "", "stock machines do all of it");
    let refused = machine(&text);
    for line in [
        "machine.systemDiskEncryption: not yet supported (line 5, column 27)",
        "machine.network.kubespan.enabled: not yet supported (line 6, column 35)",
        "kind: BGPInstanceConfig is not yet supported (line 11, column 7)",
    ] {
        assert!(refused.lines().any(|found| found == line), "{line}\n{refused}");
    }
}

#[test]
fn a_manager_refuses_unknown_keys_wrong_types_duplicates_and_unknown_kinds() {
    for (text, problem) in [
        (VLAN.replace("vlanID", "vlanId"), "vlanId: unknown key; did you mean \"vlanID\"?"),
        (VLAN.replace("parent: a\n", ""), "document VLANConfig/a.5: parent: missing"),
        (VLAN.replace("5\nparent", "4095\nparent"), "vlanID: 4095 is above the maximum 4094"),
        (format!("{VLAN}up: [yes]\n"), "up: expected a boolean, found a list"),
        (format!("{VLAN}vlanMode: 802.1x\n"), "did you mean \"802.1q\"?"),
        (format!("{VLAN}---\n{VLAN}"), "document VLANConfig/a.5 is already given in line 1"),
        (VLAN.replace("VLANConfig", "VLANConfg"), "did you mean \"VLANConfig\"?"),
        ("machine: {envs: {}}".to_owned(), "machine.envs: unknown key; did you mean \"env\"?"),
    ] {
        let refused = manager(&text).unwrap_err();
        assert!(refused.contains(problem), "{problem}\n{refused}");
    }
}

/// A value of a type, with no more in it than there must be.
fn sample(kind: Type) -> Node {
    match kind {
        Type::Record(record) => least(record),
        Type::List(inner) => Node::list([sample(*inner)]),
        Type::Integer(least, _) => Node::integer(least),
        Type::OneOf(words) => Node::string(words[0]),
        Type::Bool => Node::bool(true),
        Type::Object | Type::Map(_) => Node::map([("key", Node::string("value"))]),
        Type::Url => Node::string("https://host:1"),
        Type::Cidr => Node::string("10.0.0.0/8"),
        Type::Ip => Node::string("10.0.0.1"),
        _ => Node::string("text"),
    }
}

fn least(record: &'static Record) -> Node {
    let required = record.fields.iter().filter(|field| field.required);
    Node::map(required.map(|field| (field.key, sample(field.kind))))
}

#[test]
fn every_later_kind_is_taken_by_a_manager_and_refused_by_a_machine() {
    for document in LATER_DOCUMENTS {
        let mut node = least(document.record);
        let crate::node::Value::Map(map) = &mut node.value else { panic!("a mapping") };
        map.set("apiVersion", Node::string("v1alpha1"));
        map.set("kind", Node::string(document.kind));
        let text = write::document(&node);
        let config = manager(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert_eq!(config.text(), text);
        assert!(machine(&text).contains(&format!("{} is not yet supported", document.kind)), "{text}");
    }
}

#[test]
fn later_documents_merge_by_the_rules_of_the_language() {
    let header = |kind: &str, fields: &str| format!("apiVersion: v1alpha1\nkind: {kind}\n{fields}\n");
    let bond = |fields: &str| header("BondConfig", &format!("name: b\n{fields}"));
    let first = bond("links: [x]\nbondMode: 802.3ad\nmtu: 9000");
    let text = patched(&[&first, &bond("links: [y]\nmtu: 0\nup: false")]);
    assert!(text.contains("links:\n    - x\n    - \"y\"\n") && text.contains("mtu: 9000"), "{text}");
    assert!(text.contains("up: false"), "{text}");

    let ingress = |subnet: &str| format!("name: r\ningress: [{{subnet: {subnet}}}]");
    let rule = |subnet: &str| header("NetworkRuleConfig", &ingress(subnet));
    let text = patched(&[&rule("10.0.0.0/8"), &rule("192.168.0.0/16")]);
    assert!(text.contains("192.168.0.0/16") && !text.contains("10.0.0.0/8"), "{text}");

    let verified = |rule: &str| header("ImageVerificationConfig", &format!("rules: [{rule}]"));
    let first = verified("{image: a, skip: true}, {image: b}");
    let text = patched(&[&first, &verified("{image: a, deny: true}")]);
    assert!(text.contains("- image: a\n      deny: true\n    - image: b\n"), "{text}");

    let file = |content: &str| format!("name: s\nconfigFiles: [{{mountPath: /a, content: {content}}}]");
    let service = |content: &str| header("ExtensionServiceConfig", &file(content));
    let text = patched(&[&service("one"), &service("two")]);
    assert!(text.contains("two") && !text.contains("one"), "{text}");

    assert_eq!(patched(&[&bond("links: [x]\nbondMode: 802.3ad"), &bond("$patch: delete")]), "");
}

#[test]
fn secrets_of_later_documents_are_hidden() {
    let text = "apiVersion: v1alpha1\nkind: WireguardConfig\nname: w\nprivateKey: hunter2\n\
        peers: [{publicKey: pub, presharedKey: hunter2}]\n---\n\
        apiVersion: v1alpha1\nkind: KubeEtcdEncryptionConfig\n\
        config: {resources: [{providers: [{secretbox: {keys: [{name: key1, secret: hunter2}]}}]}]}\n---\n\
        apiVersion: v1alpha1\nkind: KubeAPIServerCAConfig\nissuingCA: {cert: crt, key: hunter2}\n";
    let redacted = manager(text).unwrap().redacted();
    assert!(!redacted.contains("hunter2"), "{redacted}");
    assert!(redacted.contains("publicKey: pub") && redacted.contains("cert: crt"), "{redacted}");
}

#[test]
fn any_patch_for_a_manager_is_applied_or_refused() {
    let base = manager(&format!("{ROOT}---\n{VLAN}")).unwrap();
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(patch) = Patch::parse_for(bytes, Audience::Manager) {
            let _ = base.patched(&[patch]).map(|config| config.redacted());
        }
    });
}
