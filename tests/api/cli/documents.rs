//! The commands of the documents, run as they are written there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::lab::setup::BINARY;
use crate::lab::{Bucket, Proxy, Sample, garage};

const PROGRAM: &str = "s3-backup-agent --config agent.toml ";

/// The document whose `agent.toml` others use.
const WITH_SETTINGS: &str = "docs/guides/binary.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md"), root().join("addon/DOCS.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// The lines of a document with the language of the code that they belong to, if any.
fn lines(document: &str) -> Vec<(Option<&str>, &str)> {
    let mut language = None;
    let mut lines = Vec::new();
    for line in document.lines() {
        match (line.trim().strip_prefix("```"), language) {
            (Some(_), Some(_)) => language = None,
            (Some(name), None) => language = Some(name),
            (None, _) => lines.push((language, line)),
        }
    }
    lines
}

/// The agent's commands, in blocks of code and within the text.
fn commands(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (language, line) in lines(document) {
        let is_command = |code: &str| code.trim_start_matches("./").starts_with(PROGRAM);
        let code: Vec<&str> = match language {
            Some("sh") => vec![line.trim()],
            Some(_) => Vec::new(),
            None => line.split('`').skip(1).step_by(2).collect(),
        };
        found.extend(
            code.into_iter()
                .filter(|it| is_command(it))
                .map(str::to_owned),
        );
    }
    found
}

/// The `agent.toml` in a document.
fn settings(document: &str) -> Option<String> {
    let code = lines(document)
        .into_iter()
        .filter(|(language, _)| *language == Some("toml"))
        .map(|(_, line)| line.trim().to_owned() + "\n");
    let text: String = code.collect();
    text.contains("[[locations]]").then_some(text)
}

/// A folder as a reader has it, with a bucket for each location. The agent sees everything in the buckets as two hours old.
struct Reader {
    folder: TempDir,
    ids: Vec<String>,
    buckets: Vec<Bucket>,
    proxy: Proxy,
}

impl Reader {
    async fn with(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink(BINARY, folder.path().join("s3-backup-agent")).unwrap();
        fs::write(folder.path().join("agent.toml"), settings).unwrap();
        let file: toml::Table = settings.parse().unwrap();
        let locations = file["locations"].as_array().unwrap();
        let ids = locations
            .iter()
            .map(|it| it["id"].as_str().unwrap().to_owned());
        let mut buckets = Vec::new();
        for _ in locations {
            buckets.push(garage::shared().bucket().await);
        }
        let proxy = Proxy::before(&buckets[0].endpoint).await;
        proxy.make_old();
        let reader = Self {
            ids: ids.collect(),
            folder,
            buckets,
            proxy,
        };
        reader.fill().await;
        reader
    }

    /// Makes what the documents speak of: files, a tar without metadata, backups of another integration.
    async fn fill(&self) {
        let encrypted = root().join("tests/fixtures/securetar-v3.tar");
        fs::copy(encrypted, self.folder.path().join("LISTED.tar")).unwrap();
        fs::write(self.folder.path().join("key.txt"), "ABCD-efgh-1234\n").unwrap();
        fs::write(self.folder.path().join("FILE.tar"), Sample::small("b2").tar).unwrap();
        let orphan = "homeassistant/backups/My backup.tar";
        self.buckets[0].put(orphan, Sample::small("c3").tar).await;
        for (id, stem) in [("d4", "Nightly"), ("e5", "homeassistant/Nightly")] {
            let sample = Sample::small(id);
            let other = self.buckets.last().unwrap();
            let metadata = sample.metadata.to_string();
            other.put(&format!("{stem}.metadata.json"), metadata).await;
            other.put(&format!("{stem}.tar"), sample.tar).await;
        }
    }

    fn variables(&self) -> Vec<(String, String)> {
        let folder = self.folder.path().to_str().unwrap();
        let mut variables = vec![
            ("PATH".to_owned(), format!("{folder}:/usr/bin:/bin")),
            (
                "S3_BACKUP_AGENT__STATE_DIR".to_owned(),
                format!("{folder}/state"),
            ),
            (
                "S3_BACKUP_AGENT__LISTEN__SOCKET".to_owned(),
                format!("{folder}/agent.sock"),
            ),
        ];
        let secrets = ["S3", "CELLAR", "CLOUD"]
            .into_iter()
            .flat_map(|name| [format!("{name}_KEY_ID"), format!("{name}_SECRET")]);
        variables.extend(secrets.map(|name| (name, "an example".to_owned())));
        for (number, bucket) in self.buckets.iter().enumerate() {
            for (key, value) in [
                ("ENDPOINT", &self.proxy.endpoint()),
                ("REGION", &bucket.region),
                ("BUCKET", &bucket.name),
                ("ACCESS_KEY_ID", &bucket.key_id),
                ("SECRET_ACCESS_KEY", &bucket.secret),
            ] {
                let name = format!("S3_BACKUP_AGENT__LOCATIONS__{number}__{key}");
                variables.push((name, value.clone()));
            }
        }
        variables
    }

    /// Runs commands one after another; the first that fails is the last.
    async fn run(&self, commands: &[String]) -> Result<(), String> {
        // A restore needs a new Home Assistant, and is run by tests/e2e.
        let commands = commands.iter().filter(|it| !it.contains(" restore "));
        let script = commands.map(|command| {
            let command = command.replace("BACKUP_ID", "5ec12e7a");
            if command.ends_with(" serve") {
                format!(
                    "{command} & agent=$!\n\
                     until {PROGRAM} healthcheck; do kill -0 $agent; sleep 0.1; done\n\
                     kill $agent; wait $agent\n"
                )
            } else {
                command + "\n"
            }
        });
        let listed = format!("{PROGRAM} upload {} LISTED.tar\n", self.ids[0]);
        let mut bash = Command::new("bash");
        bash.args(["-euxo", "pipefail", "-c"])
            .arg(listed + &script.collect::<String>())
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.variables());
        let output = spawn_blocking(move || bash.output().unwrap())
            .await
            .unwrap();
        let printed = [output.stdout, output.stderr].concat();
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&printed).into_owned())
        }
    }
}

#[tokio::test]
async fn commands_of_the_documents_succeed() {
    let default = settings(&fs::read_to_string(root().join(WITH_SETTINGS)).unwrap()).unwrap();
    let mut count = 0;
    let mut failed = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let commands = commands(&text);
        if commands.is_empty() {
            continue;
        }
        count += commands.len();
        let reader = Reader::with(settings(&text).as_ref().unwrap_or(&default)).await;
        if let Err(printed) = reader.run(&commands).await {
            failed.push(format!("{}:\n{printed}", document.display()));
        }
    }
    assert!(count > 20, "{count}");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
