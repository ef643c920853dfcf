//! Members of etcd for managers that keep their store there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Members of one etcd on the loopback, which end with this value.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Child>,
    endpoints: Vec<String>,
}

impl Etcd {
    /// Starts so many members; they take two ports each, from `first` on. Their data and logs go into `folder`.
    pub fn start(program: &Path, folder: &Path, first: u16, count: u16) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let peer = |number: u16| url(first + count + number);
        let cluster: Vec<String> = (0..count).map(|number| format!("m{number}={}", peer(number))).collect();
        let mut etcd = Self { members: Vec::new(), endpoints: Vec::new() };
        for number in 0..count {
            let (name, client) = (format!("m{number}"), url(first + number));
            let log = File::create(folder.join(format!("{name}.log"))).context("cannot make a log")?;
            let child = Command::new(program)
                .args(["--name", &name, "--initial-cluster", &cluster.join(",")])
                .arg("--data-dir")
                .arg(folder.join(&name))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer(number), "--initial-advertise-peer-urls", &peer(number)])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn();
            etcd.members.push(child.with_context(|| format!("cannot start {}", program.display()))?);
            etcd.endpoints.push(client);
        }
        Ok(etcd)
    }

    /// Settings of a manager that keeps its store here.
    #[must_use]
    pub fn settings(&self) -> BTreeMap<String, Value> {
        let all = [
            ("storage.default.kind", json!("etcd")),
            ("storage.default.etcd.endpoints", json!(self.endpoints)),
        ];
        all.into_iter().map(|(path, value)| (path.to_owned(), value)).collect()
    }

    /// Process ids of the members.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.members.iter().map(Child::id).collect()
    }

    /// Ends a member as a crash does. Returns when it is gone.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        let member = self.members.get_mut(number).context("no such member")?;
        member.kill().context("cannot kill a member of etcd")?;
        member.wait().context("cannot wait for a member of etcd").map(drop)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            // It may have ended already.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}
