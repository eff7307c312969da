//! Whether a key opens a backup, over the API.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::access::free_address;
use crate::lab::call::{Client, http};
use crate::lab::{Agent, Location, Setup, garage};

const KEY: &str = "ABCD-efgh-1234";
const PATH: &str = "/v1/locations/garage/backups/5ec12e7a/key";
const TOKEN: &str = "correct-horse-battery-staple";

/// An agent with one of the backups that `tests/lab/securetar_vectors.py` wrote.
async fn with_backup(name: &str, listen: &str) -> Agent {
    let bucket = garage::shared().bucket().await;
    let setup = Setup::of(Location::of(&bucket)).keeping_secret(KEY);
    let setup = setup.listening(listen);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let tar = fs::read(fixtures.join(format!("securetar-{name}.tar"))).unwrap();
    fs::write(setup.path("in.tar"), tar).unwrap();
    setup
        .run(&["upload", "garage", "in.tar"])
        .await
        .ended_with(0);
    setup.serve().await
}

#[tokio::test]
async fn key_is_checked() {
    for name in ["v2", "v3", "plain"] {
        let agent = with_backup(name, "").await;
        let is_plain = name == "plain";
        for (password, result) in [(KEY, "opens"), ("ABCD-efgh-1235", "wrong")] {
            let answer = agent.post(PATH, &json!({"password": password})).await;
            let result = if is_plain { "not_encrypted" } else { result };
            assert_eq!(
                (answer.status, answer.json()),
                (200, json!({"result": result}))
            );
        }
        let missing = PATH.replace("5ec12e7a", "a1");
        let answer = agent.post(&missing, &json!({"password": KEY})).await;
        answer.is_problem(404, "backup_not_found", &["a1"]);
        let digits = "739182645512";
        for wrong in [
            json!({}),
            json!({"password": digits.parse::<u64>().unwrap()}),
            json!({"password": -739_182_645_512_i64}),
            json!({"password": [digits]}),
            json!(digits),
            json!({ digits: 1 }),
            json!({"password": KEY, "more": 1}),
            json!({"password": digits.repeat(400)}),
        ] {
            let answer = agent.post(PATH, &wrong).await;
            answer.is_problem(400, "invalid_request", &["body", "at most 4096 bytes"]);
            assert!(!answer.json().to_string().contains(digits));
        }
        let printed = agent.printed();
        assert!(!printed.contains(digits), "{printed}");
        agent.setup.assert_no_secret(&printed);
    }
}

#[tokio::test]
async fn key_is_refused_over_tcp_without_tls() {
    let address = free_address();
    let listen = format!("token = \"{TOKEN}\"\ntcp = \"{address}\"");
    let agent = with_backup("v3", &listen).await;
    let client = Client::new(http().build().unwrap(), &format!("http://{address}"));
    let client = client.with_token(TOKEN);
    let answer = client.post(PATH, &json!({"password": KEY})).await;
    answer.is_problem(400, "invalid_request", &["TLS", "socket"]);
    agent.setup.assert_no_secret(&agent.printed());
}
