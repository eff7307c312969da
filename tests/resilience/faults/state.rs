//! The content of a bucket, read from its folder.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use crate::lab::sample::hex;
use crate::lab::{Agent, Imitation, Sample};

/// Complete backups by id, with their SHA-256.
pub(super) type Whole = Vec<(String, String)>;

/// Asserts that metadata stands only beside its own tar, and that every tar is one of the uploaded
/// ones.
pub(super) fn sound(server: &Imitation, samples: &[Sample], case: &str) -> (Whole, Vec<String>) {
    loop {
        match look(server, samples) {
            Ok(found) => return found,
            // Content changed between two reads.
            Err((key, _)) if !server.keys().contains(&key) => {}
            Err((key, why)) => panic!("{case}: \"{key}\": {why}; there is {:?}", server.keys()),
        }
    }
}

type Found = (Whole, Vec<String>);

fn look(server: &Imitation, samples: &[Sample]) -> Result<Found, (String, String)> {
    let (mut whole, mut alone) = (Vec::new(), Vec::new());
    for key in server.keys() {
        let wrong = |why: String| (key.clone(), why);
        if let Some(stem) = key.strip_suffix(".metadata.json") {
            let metadata = server
                .try_get(&key)
                .ok_or_else(|| wrong("it is gone".into()))?;
            let tar = server
                .try_get(&format!("{stem}.tar"))
                .ok_or_else(|| wrong("it has no tar".into()))?;
            let json: Value =
                serde_json::from_slice(&metadata).map_err(|error| wrong(error.to_string()))?;
            let (id, sha256) = (
                json["backup_id"].as_str().unwrap(),
                hex(digest(&SHA256, &tar).as_ref()),
            );
            let said = json["s3_backup_agent"]["sha256"].as_str();
            if said.is_some_and(|said| said != sha256) || json["size"] != tar.len() {
                return Err(wrong(format!("it is of another tar: {json}")));
            }
            whole.push((id.to_owned(), sha256));
        } else {
            let tar = server
                .try_get(&key)
                .ok_or_else(|| wrong("it is gone".into()))?;
            if !samples.iter().any(|sample| sample.tar == tar) {
                return Err(wrong(format!("{} bytes of unknown origin", tar.len())));
            }
            let metadata = key
                .strip_suffix(".tar")
                .map(|stem| format!("{stem}.metadata.json"));
            if metadata.is_none_or(|metadata| server.try_get(&metadata).is_none()) {
                alone.push(key);
            }
        }
    }
    Ok((whole, alone))
}

/// Asserts that every listed backup exists and downloads unchanged.
pub(super) async fn assert_list_matches_bucket(
    agent: &Agent,
    location: &str,
    whole: &Whole,
    case: &str,
) {
    let listed = agent.listed(location).await;
    let mut ids: Vec<_> = whole.iter().map(|(id, _)| id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(listed, ids, "{case}");
    for id in &listed {
        let answer = agent.download(location, id).await.unwrap();
        let sha256 = hex(digest(&SHA256, &answer.body).as_ref());
        assert!(
            answer.status == 200 && whole.contains(&(id.clone(), sha256)),
            "{case}: {id}: {}",
            answer.status
        );
    }
}
