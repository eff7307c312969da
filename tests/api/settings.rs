//! `GET /v1/settings`, which Home Assistant's form is built from.

use serde_json::{Value, json};

use crate::lab::{Agent, agent_and_bucket};

async fn form(agent: &Agent, query: &str) -> Vec<Value> {
    let answer = agent.get(&format!("/v1/settings{query}")).await;
    assert_eq!(answer.status, 200);
    answer.json()["settings"].as_array().unwrap().clone()
}

fn names(form: &[Value], section: &str) -> Vec<String> {
    form.iter()
        .filter(|field| field["section"] == section)
        .map(|field| field["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn form_has_the_fields_that_the_provider_needs() {
    let (agent, _bucket) = agent_and_bucket().await;
    let shared = [
        "bucket",
        "prefix",
        "access_key_id",
        "secret_access_key",
        "name",
    ];
    for (query, own, required) in [
        ("", vec!["endpoint"], true),
        ("?provider=other", vec!["endpoint"], true),
        ("?provider=aws", vec!["region"], false),
        (
            "?provider=cloudflare_r2",
            vec!["account_id", "jurisdiction"],
            true,
        ),
        ("?provider=backblaze_b2", vec!["region"], true),
    ] {
        let form = form(&agent, query).await;
        assert_eq!(
            names(&form, "main"),
            [own.clone(), shared.to_vec()].concat(),
            "{query}"
        );
        assert_eq!(form[0]["required"], required, "{query}");
        let connection = names(&form, "connection");
        for name in ["endpoint", "region"] {
            let is_main = own.contains(&name);
            assert_ne!(
                is_main,
                connection.contains(&name.to_owned()),
                "{query} {name}"
            );
        }
        for (section, name) in [
            ("connection", "outage_seconds"),
            ("connection", "proxy"),
            ("speed", "concurrency"),
            ("speed", "upload_limit"),
            ("storage", "encryption"),
            ("storage", "storage_class"),
            ("verification", "verify_mode"),
        ] {
            assert!(
                names(&form, section).contains(&name.to_owned()),
                "{query} {name}"
            );
        }
    }
    agent
        .get("/v1/settings?provider=atlantis")
        .await
        .is_problem(400, "invalid_request", &["atlantis"]);
}

#[tokio::test]
async fn field_has_type_default_bounds_and_values() {
    let (agent, _bucket) = agent_and_bucket().await;
    let form = form(&agent, "?provider=hetzner").await;
    let field = |name: &str| form.iter().find(|field| field["name"] == name).unwrap();
    let sizes = ["8 MiB", "16 MiB", "32 MiB", "64 MiB"];
    let sizes = sizes.map(|size| json!({"value": size, "label": size}));
    assert_eq!(
        field("part_size"),
        &json!({
            "name": "part_size", "type": "size", "section": "speed", "required": false, "default": "8 MiB",
            "min": 5 << 20, "max": 512 << 20, "unit": null, "choices": [],
            "suggestions": sizes,
        })
    );
    for (name, expected) in [
        ("access_key_id", json!({"type": "text", "required": true})),
        (
            "secret_access_key",
            json!({"type": "secret", "required": true}),
        ),
        (
            "session_token",
            json!({"type": "secret", "required": false}),
        ),
        (
            "concurrency",
            json!({"type": "integer", "default": 4, "min": 1, "max": 16}),
        ),
        (
            "idle_seconds",
            json!({"type": "integer", "default": 60, "unit": "s"}),
        ),
        (
            "upload_limit",
            json!({"type": "rate", "default": null, "min": 16384, "max": null}),
        ),
        (
            "verify_every",
            json!({"type": "duration", "default": "off"}),
        ),
        (
            "verify_mode",
            json!({"type": "choice", "default": "full", "choices": ["quick", "full"]}),
        ),
        ("verify_sample", json!({"type": "text", "default": "1"})),
        ("ca_certificate", json!({"type": "pem"})),
        ("proxy", json!({"type": "proxy"})),
    ] {
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&field(name)[key], value, "{name}: {key}");
        }
    }
    let regions = field("region")["suggestions"].as_array().unwrap();
    assert!(regions.contains(&json!({"value": "fsn1", "label": "Falkenstein (fsn1)"})));
}
