//! Visibility to other users of the machine: files, process, core dumps.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use crate::lab::{Location, MIB, Sample, Setup, as_other_user, eventually, garage};

/// All files and folders below a folder, with their modes.
fn modes(folder: &Path, found: &mut Vec<(String, u32)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        found.push((
            path.display().to_string(),
            metadata.permissions().mode() & 0o777,
        ));
        if metadata.is_dir() {
            modes(&path, found);
        }
    }
}

#[track_caller]
fn assert_private(folder: &Path) -> usize {
    let mut found = Vec::new();
    modes(folder, &mut found);
    let open: Vec<_> = found.iter().filter(|(_, mode)| mode & 0o077 != 0).collect();
    assert!(open.is_empty(), "other users can read {open:?}");
    found.len()
}

/// Waits until the process has become `sleep`, with its limits and user set.
async fn runs_sleep(pid: u32) {
    eventually("the control is running", async || {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
    })
    .await;
}

#[tokio::test]
async fn created_files_are_private_under_any_umask() {
    for umask in ["000", "022", "077"] {
        let bucket = garage::shared().bucket().await;
        let mut setup = Setup::of(Location::of(&bucket));
        // A share that existed before, open to everybody.
        let share = setup.path("share");
        fs::create_dir(&share).unwrap();
        fs::set_permissions(&share, fs::Permissions::from_mode(0o755)).unwrap();
        setup.locations.push(Location {
            id: "share".into(),
            provider: String::new(),
            endpoint: format!("file://{}", share.display()),
            ..Location::of(&bucket)
        });
        for location in &mut setup.locations[1..] {
            (location.region, location.bucket) = Default::default();
            (location.key_id, location.secret) = Default::default();
        }
        let token = setup.path("state/token");
        let setup = setup
            .listening(&format!("token_file = {token:?}"))
            .with_umask(umask);
        let mut agent = setup.serve().await;
        let token = fs::read_to_string(&token).unwrap().trim().to_owned();
        agent.setup.secrets.push(token.clone());
        let client = agent.client.clone().with_token(&token);
        for (index, size) in [40_960, 11 * MIB].into_iter().enumerate() {
            client
                .upload("share", &Sample::new(&format!("b{index}"), "Shared", size))
                .await;
        }
        // An upload in flight has a journal.
        let sample = Sample::new("a1", "Journal", 16 * MIB);
        let upload_id = client.begin("garage", &sample).await;
        let mut events = client.events().await;
        let mut sending = client.sending(&upload_id);
        sending.send(&sample.tar.slice(..12 * 1024 * 1024)).await;
        events
            .until(|event| event["stored_bytes"].as_u64() > Some(0))
            .await;
        assert!(
            assert_private(&agent.setup.path("state")) >= 5,
            "lock, token, id, journal and its folder"
        );
        assert!(assert_private(&agent.setup.path("run")) >= 1);
        assert_eq!(assert_private(&share), 5, "two backups and their folder");
        drop(sending);
        client.cancel(&upload_id).await;

        let file = agent.setup.path("back.tar");
        let download = ["download", "share", "b1", "-o", file.to_str().unwrap()];
        agent.setup.run(&download).await.ended_with(0);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "umask {umask}"
        );
    }
}

#[tokio::test]
async fn crash_leaves_no_core_dump() {
    let setup = Setup::of(Location::of(&garage::shared().bucket().await)).with_dumps();
    let mut agent = setup.serve().await;
    agent.signal("ABRT");
    let ended = agent.ended().await;
    assert_eq!(ended.signal(), Some(6));
    assert!(!ended.core_dumped(), "a core dump with keys was written");
    // Control: without it, a machine that never writes dumps would pass.
    let command = "ulimit -c unlimited && exec sleep 60";
    let mut other = std::process::Command::new("sh")
        .args(["-c", command])
        .current_dir(agent.setup.folder.path())
        .spawn();
    let other = other.as_mut().unwrap();
    runs_sleep(other.id()).await;
    assert!(
        std::process::Command::new("sh")
            .args(["-c", &format!("kill -ABRT {}", other.id())])
            .status()
            .unwrap()
            .success()
    );
    assert!(
        other.wait().unwrap().core_dumped(),
        "precondition: this machine writes dumps"
    );
}

#[tokio::test]
async fn process_arguments_contain_no_secret() {
    let bucket = garage::shared().bucket().await;
    let location = crate::lab::Location {
        secret: "${BUCKET_SECRET}".into(),
        ..Location::of(&bucket)
    };
    let setup = Setup::of(location)
        .with_variable("BUCKET_SECRET", &bucket.secret)
        .keeping_secret(&bucket.secret);
    let agent = setup.serve().await;
    agent.upload("garage", &Sample::small("a1")).await;
    let arguments = fs::read(format!("/proc/{}/cmdline", agent.pid())).unwrap();
    let arguments = String::from_utf8(arguments).unwrap();
    assert!(
        arguments.contains("--config") && !arguments.contains(&bucket.secret),
        "{arguments}"
    );
    let help = agent.setup.run(&["serve", "--help"]).await.ended_with(0);
    for word in ["secret", "token", "password"] {
        assert!(
            !help.text().to_lowercase().contains(word),
            "an option asks for a secret: {}",
            help.text()
        );
    }
}

#[tokio::test]
async fn environment_is_hidden_from_other_processes_of_the_user() {
    let bucket = garage::shared().bucket().await;
    let location = Location {
        secret: "${BUCKET_SECRET}".into(),
        ..Location::of(&bucket)
    };
    let setup = Setup::of(location)
        .with_variable("BUCKET_SECRET", &bucket.secret)
        .keeping_secret(&bucket.secret);
    let agent = setup.run_as_other_user().serve().await;
    agent.upload("garage", &Sample::small("a1")).await;
    let read = |pid: u32| {
        as_other_user()
            .args(["cat", &format!("/proc/{pid}/environ")])
            .output()
            .unwrap()
    };
    let refused = read(agent.pid());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.stdout.is_empty() && said.contains("Permission denied"),
        "{refused:?}"
    );
    // Control: without it, a machine that always hides environments would pass.
    let mut other = as_other_user()
        .args(["sleep", "60"])
        .env("PLAIN", "to be seen")
        .spawn()
        .unwrap();
    runs_sleep(other.id()).await;
    let shown = read(other.id());
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains("to be seen"),
        "{shown:?}"
    );
}

#[tokio::test]
async fn terminal_escapes_and_newlines_in_names_are_neutralised() {
    let bucket = garage::shared().bucket().await;
    let setup = Setup::of(Location::of(&bucket));
    let mut sample = Sample::small("a1");
    sample.metadata["name"] = "\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31mred".into();
    bucket.put_backup("", "a", &sample).await;
    let forged = "x\n2026-11-20T00:00:00Z  WARN s3_backup_agent: forged";
    let mut bad = Sample::small("a2");
    bad.metadata["size"] = forged.into();
    bucket.put_backup("", "b", &bad).await;
    let ran = setup.run(&["list"]).await.ended_with(0);
    for text in [ran.text(), &ran.stderr] {
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{text:?}"
        );
    }
    assert!(ran.text().contains("red"), "{}", ran.text());
    let agent = setup.serve().await;
    agent.refreshed("garage").await;
    agent
        .get("/v1/locations/a%0A2026-11-20T00:00:00Z%20%20WARN%20s3_backup_agent:%20forged")
        .await;
    eventually("both names are printed", async || {
        agent.printed().matches("forged").count() >= 2
    })
    .await;
    assert!(
        !agent
            .printed()
            .lines()
            .any(|line| line.starts_with("2026-11-20T00:00:00Z")),
        "{}",
        agent.printed()
    );
}
