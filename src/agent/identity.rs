//! Id of this agent, stable over restarts and upgrades.

use std::fs;
use std::path::Path;

use tracing::warn;

use super::kept::keep;

/// Name of the file in the state directory.
const FILE: &str = "agent_id";

/// Returns the id in `state_dir`, 32 hex digits. A missing or invalid one is replaced.
///
/// If it cannot be written, it is new at each start. Nothing else depends on it, so that is only a warning.
#[must_use]
pub fn agent_id(state_dir: &Path) -> String {
    let path = state_dir.join(FILE);
    if let Some(id) = fs::read_to_string(&path).ok().as_deref().and_then(parse) {
        return id;
    }
    let id = uuid::Uuid::new_v4().simple().to_string();
    if let Err(error) = keep(&path, format!("{id}\n").as_bytes()) {
        warn!(
            "\"{}\" cannot be written: {error}; the agent has another id after the next start",
            path.display()
        );
    }
    id
}

fn parse(text: &str) -> Option<String> {
    let id = text.trim();
    let is_id = id.len() == 32
        && id
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_generated_once() {
        let folder = tempfile::tempdir().unwrap();
        let id = agent_id(folder.path());
        assert_eq!(parse(&id), Some(id.clone()));
        assert_eq!(agent_id(folder.path()), id);
        let files: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(files, [FILE]);
    }

    #[test]
    fn invalid_id_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for broken in [
            "",
            "1234",
            "0123456789abcdef0123456789abcdeg",
            "0123456789ABCDEF0123456789ABCDEF",
        ] {
            fs::write(folder.path().join(FILE), broken).unwrap();
            let id = agent_id(folder.path());
            assert_eq!(agent_id(folder.path()), id, "after {broken:?}");
        }
    }

    #[test]
    fn unwritable_id_is_new_each_time() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(FILE)).unwrap();
        assert_ne!(agent_id(folder.path()), agent_id(folder.path()));
    }
}
