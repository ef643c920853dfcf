//! Boots of a machine that is a folder.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

struct Machine {
    _folder: tempfile::TempDir,
    places: Places,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).expect("a folder");
            path
        };
        let places = Places {
            log: place("log"),
            early_log: place("early"),
            pstore: place("pstore"),
            notes: place("run").join("evidence"),
        };
        Self { _folder: folder, places }
    }

    /// Begins a boot, or goes on with it. What is in memory is gone when it is another one.
    fn boot(&self, id: &str) -> Keeper {
        let boot = Boot { id: id.to_owned(), version: "v1".to_owned(), at: UNIX_EPOCH };
        Keeper::begin(self.places.clone(), &boot, None).expect("a boot")
    }

    fn lose_power(&self) {
        for entry in fs::read_dir(&self.places.early_log).expect("a folder").flatten() {
            fs::remove_file(entry.path()).expect("gone");
        }
        let _ = fs::remove_file(&self.places.notes);
    }

    fn say(&self, service: &str, text: &str) {
        use std::io::Write as _;
        let path = self.places.early_log.join(format!("{service}.log"));
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).expect("a log");
        file.write_all(text.as_bytes()).expect("said");
    }

    fn ring(&self) -> Ring {
        Ring::below(&self.places.log)
    }

    fn text(&self, boot: u64, name: &str) -> String {
        fs::read_to_string(self.ring().log(boot, name)).unwrap_or_default()
    }
}

#[test]
fn logs_survive_a_loss_of_power_and_the_next_boot_says_so() {
    let machine = Machine::new();
    let mut keeper = machine.boot("a");
    machine.say("apid", "one\n");
    fs::write(machine.places.log.join("etcd.log"), "of etcd\n").expect("a log on disk");
    keeper.flush(UNIX_EPOCH).expect("written");
    drop(keeper);
    machine.lose_power();
    machine.boot("b");
    assert_eq!(machine.text(1, "apid"), "one\n");
    assert_eq!(machine.text(1, "etcd"), "of etcd\n");
    assert!(!machine.places.log.join("etcd.log").exists(), "the next boot begins with none");
    let record = machine.ring().record(1).expect("a record");
    assert_eq!(record.end, BootEnd::PowerLoss);
    assert_eq!(record.logs, ["apid", "etcd"]);
    assert_eq!(machine.ring().record(2).expect("a record").end, BootEnd::Running);
}

#[test]
fn a_boot_that_was_ended_keeps_who_asked_and_a_panic_is_told_with_its_words() {
    let machine = Machine::new();
    let at = UNIX_EPOCH + Duration::from_secs(9);
    let end = machine.boot("a").end(BootEnd::Requested, "reboot, asked for by x".into(), UNIX_EPOCH, at);
    end.expect("recorded");
    machine.boot("b");
    let record = machine.ring().record(1).expect("a record");
    assert_eq!((record.end, record.reason.as_str()), (BootEnd::Requested, "reboot, asked for by x"));
    assert_eq!(record.last_seen, Some(at));
    let words = "Panic#1 Part1\nKernel panic - not syncing: sysrq triggered crash\n";
    fs::write(machine.places.pstore.join("dmesg-efi_pstore-1"), words).expect("last words");
    machine.boot("c");
    let record = machine.ring().record(2).expect("a record");
    assert_eq!(record.end, BootEnd::Panic);
    assert_eq!(record.reason, "Kernel panic - not syncing: sysrq triggered crash");
    assert_eq!(machine.text(2, "panic"), words);
}

#[test]
fn last_words_that_were_not_written_are_not_let_go() {
    let machine = Machine::new();
    machine.boot("a");
    machine.lose_power();
    let words = machine.places.pstore.join("dmesg-efi_pstore-1");
    fs::write(&words, "Kernel panic - not syncing: x\n").expect("last words");
    let place = machine.ring().log(1, "panic");
    fs::create_dir(&place).expect("something in the way");
    let boot = Boot { id: "b".to_owned(), version: "v1".to_owned(), at: UNIX_EPOCH };
    assert!(Keeper::begin(machine.places.clone(), &boot, None).is_err());
    assert!(words.exists() && machine.ring().boots() == [1]);
    fs::remove_dir(&place).expect("out of the way");
    machine.boot("b");
    assert!(!words.exists());
    assert_eq!(machine.ring().record(1).expect("a record").end, BootEnd::Panic);
}

#[test]
fn a_machined_that_comes_later_in_the_same_boot_repeats_nothing() {
    let machine = Machine::new();
    let mut keeper = machine.boot("a");
    machine.say("apid", "one\n");
    keeper.flush(UNIX_EPOCH).expect("written");
    drop(keeper);
    machine.say("apid", "two\n");
    let mut keeper = machine.boot("a");
    keeper.flush(UNIX_EPOCH).expect("written");
    assert_eq!(machine.text(1, "apid"), "one\ntwo\n");
    assert_eq!(machine.ring().boots(), [1]);
}

#[test]
fn a_machine_that_shares_a_kernel_has_boots_of_its_own() {
    let machine = Machine::new();
    machine.boot("of the host");
    machine.lose_power();
    machine.boot("of the host");
    assert_eq!(machine.ring().boots(), [1, 2]);
}

#[test]
fn a_log_that_is_begun_anew_is_read_from_its_start_and_nobody_takes_the_kernels_name() {
    let machine = Machine::new();
    let mut keeper = machine.boot("a");
    machine.say("apid", "a long first text\n");
    machine.say("kernel", "not the kernel\n");
    keeper.flush(UNIX_EPOCH).expect("written");
    fs::write(machine.places.early_log.join("apid.log"), "new\n").expect("begun anew");
    keeper.flush(UNIX_EPOCH).expect("written");
    assert_eq!(machine.text(1, "apid"), "a long first text\nnew\n");
    assert_eq!(machine.text(1, "kernel"), "");
}
