//! Addresses that few servers have: an endpoint below a path, and a bucket with its tenant.

use serde_json::{Value, json};

use crate::lab::gateway::{Gateway, Signature};
use crate::lab::{Agent, Bucket, Location, MIB, Sample, Server, Setup};

/// As Supabase has it. Source: "S3 authentication" in Supabase's documentation of its storage.
const PATH: &str = "/storage/v1/s3";

/// A location at the gateway, before a server of this kind.
fn at(gateway: &Gateway, server: Server, bucket: &Bucket) -> Location {
    Location {
        endpoint: gateway.endpoint(),
        provider: "other".into(),
        ..server.location(bucket)
    }
}

async fn checked(agent: &Agent, location: &Location) -> Value {
    let answer = agent.post("/v1/locations/check", &location.json()).await;
    answer.json()
}

fn last(check: &Value) -> &Value {
    check["steps"].as_array().unwrap().last().unwrap()
}

/// Uploads in parts, lists, downloads and deletes.
async fn backup_round_trips(bucket: &Bucket, location: Location) {
    let id = location.id.clone();
    let agent = Setup::of(location.clone()).serve().await;
    let check = checked(&agent, &location).await;
    assert_eq!(check["ok"], true, "{check:#}");
    let sample = Sample::new("a1", "Größe + 1", 12 * MIB);
    agent.upload(&id, &sample).await;
    let stem = format!("backups/{}", sample.stem());
    bucket
        .wait_until_keys_are(&[&format!("{stem}.metadata.json"), &format!("{stem}.tar")])
        .await;
    assert_eq!(agent.listed(&id).await, ["a1"]);
    let download = agent.download(&id, "a1").await.unwrap();
    assert!(download.body == sample.tar, "the download differs");
    assert_eq!(agent.delete_backup(&id, "a1").await.status, 204);
    bucket.wait_until_empty().await;
}

/// The gateway computes the signature over the path that it gets.
#[tokio::test]
async fn backup_round_trips_below_a_path() {
    let bucket = Server::Garage.bucket().await;
    let gateway = Gateway::before(&bucket, PATH, Signature::Verified).await;
    let mut location = at(&gateway, Server::Garage, &bucket);
    backup_round_trips(&bucket, location.clone()).await;
    // A slash at the end is no part of it.
    location.endpoint += "/";
    backup_round_trips(&bucket, location.clone()).await;
    location.secret = "0".repeat(64);
    let check = checked(&Setup::with([]).serve().await, &location).await;
    assert_eq!(last(&check)["step"], "signature", "{check:#}");
}

/// A character that needs it is encoded in the signature as in the request.
#[tokio::test]
async fn path_is_encoded_alike_in_request_and_signature() {
    let bucket = Server::Garage.bucket().await;
    let gateway = Gateway::before(&bucket, "/s3%20%40home", Signature::Verified).await;
    let mut location = at(&gateway, Server::Garage, &bucket);
    location.endpoint = format!("{}/s3%20@home/", gateway.origin());
    backup_round_trips(&bucket, location).await;
}

/// `SeaweedFS` computes the signature over the path before the gateway dropped its part. Without that, it is wrong.
#[tokio::test]
async fn signature_covers_the_whole_path() {
    let bucket = Server::SeaweedFs.bucket().await;
    let agent = Setup::with([]).serve().await;
    for (signature, is_right) in [
        (Signature::PassedWithPath, true),
        (Signature::Passed, false),
    ] {
        let gateway = Gateway::before(&bucket, PATH, signature).await;
        let location = at(&gateway, Server::SeaweedFs, &bucket);
        let check = checked(&agent, &location).await;
        // Version 4.48 encodes names twice if it is told of a path: writing fails.
        let steps = check["steps"].as_array().unwrap();
        let listed = steps
            .iter()
            .any(|step| step["step"] == "list" && step["ok"] == true);
        assert_eq!(listed, is_right, "{signature:?}: {check:#}");
        if !is_right {
            assert_eq!(last(&check)["error"]["reason"], "wrong_secret", "{check:#}");
        }
    }
}

/// The folder and the bucket in the path are corrected up to the server's own path, and no further.
#[tokio::test]
async fn endpoint_is_corrected_to_where_s3_answers() {
    let bucket = Server::Garage.bucket().await;
    let gateway = Gateway::before(&bucket, PATH, Signature::Verified).await;
    let agent = Setup::with([]).serve().await;
    let mut location = at(&gateway, Server::Garage, &bucket);
    location.endpoint = format!("{}/{}/home", gateway.endpoint(), bucket.name);
    let check = checked(&agent, &location).await;
    let offered = json!({"endpoint": gateway.endpoint()});
    assert_eq!(check["corrected"], offered, "{check:#}");
    assert_eq!(last(&check)["error"]["reason"], "endpoint_with_bucket");

    // S3 answers neither here nor at the address without a path.
    location.endpoint = format!("{}/storage/v2/s3", gateway.origin());
    let check = checked(&agent, &location).await;
    assert_eq!(check["corrected"], Value::Null, "{check:#}");
    assert_eq!(last(&check)["error"]["reason"], "endpoint_with_path");
}

/// Ceph's users belong to the tenant `lab`.
#[tokio::test]
async fn bucket_of_a_tenant_round_trips() {
    let bucket = Server::Ceph.bucket().await;
    let location = Location {
        bucket: format!("lab:{}", bucket.name),
        ..Server::Ceph.location(&bucket)
    };
    backup_round_trips(&bucket, location.clone()).await;

    let agent = Setup::with([]).serve().await;
    let elsewhere = Location {
        bucket: format!("elsewhere:{}", bucket.name),
        ..location.clone()
    };
    let check = checked(&agent, &elsewhere).await;
    assert_eq!(
        last(&check)["error"]["code"],
        "bucket_not_found",
        "{check:#}"
    );
    let check = checked(&agent, &location.with("addressing", "virtual")).await;
    assert_eq!(check["steps"][0]["key"], "addressing", "{check:#}");
}

/// Several settings are offered for one pasted value, and they join what is there.
#[tokio::test]
async fn pasted_bucket_is_offered_with_its_folder_and_endpoint() {
    let agent = Setup::with([]).serve().await;
    let settings = |bucket: &str, more: Value| {
        let mut settings =
            json!({"bucket": bucket, "access_key_id": "a", "secret_access_key": "s"});
        for (key, value) in more.as_object().unwrap() {
            settings[key] = value.clone();
        }
        settings
    };
    for (bucket, more, offered) in [
        (
            "https://my-bucket.s3.cn-north-1.amazonaws.com.cn/home/?versions",
            json!({"provider": "aws", "region": "eu-central-1", "prefix": "cellar"}),
            json!({"bucket": "my-bucket", "prefix": "home/cellar", "region": "cn-north-1",
                "endpoint": "https://s3.cn-north-1.amazonaws.com.cn"}),
        ),
        (
            "https://my-bucket.s3.eu-central-1.amazonaws.com/home",
            json!({"provider": "aws", "region": "eu-central-1", "prefix": "home/cellar"}),
            json!({"bucket": "my-bucket"}),
        ),
        (
            "http://nas:9000/my-bucket/home",
            json!({"provider": "minio"}),
            json!({"bucket": "my-bucket", "prefix": "home", "endpoint": "http://nas:9000"}),
        ),
    ] {
        let settings = settings(bucket, more);
        let check = agent.post("/v1/locations/check", &settings).await.json();
        assert_eq!(check["corrected"], offered, "{check:#}");
    }
}
