//! Who this agent is: an id that is made once and kept, so that it stays the same over restarts and upgrades.

use std::fs;
use std::path::Path;

use tracing::warn;

use super::kept::keep;

/// Name of the file in the state directory.
const FILE: &str = "agent_id";

/// The agent's id, 32 hex digits: the one that is kept in `state_dir`, or a new one, which is kept from now on.
///
/// Where it cannot be kept it is another one at each start; nothing else depends on it, so that is a warning.
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
    fn an_id_is_made_once() {
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
    fn what_is_no_id_is_replaced() {
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
    fn where_it_cannot_be_kept_it_is_new_each_time() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(FILE)).unwrap();
        assert_ne!(agent_id(folder.path()), agent_id(folder.path()));
    }
}
