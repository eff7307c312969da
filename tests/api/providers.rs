//! The table of providers, which Home Assistant's forms use.

use serde_json::{Value, json};

use crate::lab::agent_and_bucket;

fn ids(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn clients_learn_the_requirements_of_each_provider() {
    let (agent, _bucket) = agent_and_bucket().await;
    let answer = agent.get("/v1/providers").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json")
    );
    let answer = answer.json();
    let providers = answer["providers"].as_array().unwrap();
    let provider = |id: &str| {
        providers
            .iter()
            .find(|row| row["id"] == id)
            .unwrap_or_else(|| panic!("{id} is missing"))
    };
    assert_eq!(
        (providers.len(), &providers[0]["id"], &providers[18]["id"]),
        (19, &json!("aws"), &json!("other"))
    );

    let r2 = provider("cloudflare_r2");
    assert_eq!(
        r2["endpoint"],
        "https://{account_id}{.jurisdiction}.r2.cloudflarestorage.com"
    );
    assert_eq!(
        (&r2["region"], &r2["region_required"]),
        (&json!("auto"), &json!(false))
    );
    assert_eq!(ids(&r2["fields"]), ["account_id", "jurisdiction"]);
    let account = &r2["fields"][0];
    assert_eq!(
        (&account["pattern"], &account["optional"]),
        (&json!("^[0-9A-Fa-f]{32}$"), &json!(false))
    );
    assert_eq!(r2["fields"][1]["choices"], json!(["eu", "us", "fedramp"]));

    let hetzner = provider("hetzner");
    assert_eq!(
        (ids(&hetzner["regions"]), &hetzner["region_required"]),
        (vec!["fsn1", "hel1", "nbg1"], &json!(true))
    );
    let garage = provider("garage");
    assert_eq!(
        (&garage["endpoint"], &garage["region"]),
        (&Value::Null, &json!("garage"))
    );
    assert_eq!(
        (&garage["addressing"], &garage["checksum"]),
        (&json!("path"), &json!("crc64nvme"))
    );
    assert_eq!(provider("scaleway")["max_parts"], 1_000);
    assert!(
        provider("aws")["permissions"]["policy"]
            .as_str()
            .unwrap()
            .contains("s3:PutObject")
    );
    assert!(
        providers
            .iter()
            .all(|row| row["keys"]["url"].as_str().unwrap().starts_with("https://"))
    );
}
