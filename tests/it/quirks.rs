//! Providers that differ: the main job succeeds on each of them, with nothing set by hand but endpoint, bucket and key.

use crate::harness::{Imitation, MIB, Quirk, Sample, Setup};

/// Upload, list, download and delete, 100 MiB in 20 parts.
async fn the_main_job_succeeds(quirks: impl IntoIterator<Item = Quirk>) -> Imitation {
    let server = Imitation::with(quirks).await;
    let agent = Setup::of(server.location()).serve().await;
    let sample = Sample::new("1f2e3d4c", "Before the update", 100 * MIB);
    agent.upload("other", &sample).await;
    let stem = format!("backups/{}", sample.stem());
    server.comes_to_hold(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")]).await;
    assert!(server.get(&format!("{stem}.tar")) == sample.tar, "the tar in the bucket is another one");
    assert_eq!(agent.listed("other").await, ["1f2e3d4c"]);
    assert!(agent.download("other", "1f2e3d4c").await.unwrap().body == sample.tar, "the download differs");
    assert_eq!(agent.delete_backup("other", "1f2e3d4c").await.status, 204);
    server.comes_to_hold(&[]).await;
    server
}

#[tokio::test]
async fn a_provider_without_quirks() {
    the_main_job_succeeds([]).await;
}
