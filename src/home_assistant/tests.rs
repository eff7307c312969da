use super::*;

#[test]
fn addresses_are_taken_as_users_type_them() {
    for (typed, url) in [
        (
            "http://homeassistant.local:8123",
            "http://homeassistant.local:8123",
        ),
        (
            "homeassistant.local:8123",
            "http://homeassistant.local:8123",
        ),
        (
            "http://192.0.2.7:8123/onboarding.html?x=1#y",
            "http://192.0.2.7:8123",
        ),
        ("https://ha.example.com/", "https://ha.example.com"),
        ("[2001:db8::1]:8123", "http://[2001:db8::1]:8123"),
    ] {
        assert_eq!(HomeAssistant::new(typed, None).unwrap().url(), url);
    }
    for other in [
        "",
        "ftp://ha.example.com",
        "http://",
        "http://me:secret@ha.example.com",
        "a b",
    ] {
        let refused = HomeAssistant::new(other, None).unwrap_err();
        assert!(
            matches!(refused, Failure::InvalidUrl(_)),
            "{other}: {refused}"
        );
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
    let refused = HomeAssistant::new("ha.example.com", Some(b"no certificate")).unwrap_err();
    assert!(
        matches!(refused, Failure::InvalidCertificate(_)),
        "{refused}"
    );
}

#[test]
fn states_of_the_manager_tell_how_a_restore_ended() {
    let state = |value: Value| ManagerState::deserialize(value).unwrap();
    let event = |name: &str, state: &str, reason: Value| json!({"manager_state": name, "state": state, "reason": reason, "stage": null});
    let fresh = state(json!({"backups": [], "state": "idle", "last_action_event": null}));
    assert!(fresh.is_idle() && !fresh.has_restored());
    let received = event("receive_backup", "failed", json!("unknown_error"));
    let received = state(json!({"state": "idle", "last_action_event": received}));
    assert!(!received.has_restored() && received.failed_restore().is_none());
    let running = event("restore_backup", "core_restart", Value::Null);
    let running = state(json!({"state": "restore_backup", "last_action_event": running}));
    assert!(running.has_restored() && !running.is_idle());
    assert_eq!(running.failed_restore(), None);
    let failed = event("restore_backup", "failed", json!("no space"));
    let failed = state(json!({"state": "idle", "last_action_event": failed}));
    assert_eq!(failed.failed_restore(), Some("no space"));
}

#[test]
fn refusals_are_told_in_one_line() {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    let body = b"Can't write backup file:\n [Errno 28] No space left on device";
    let words = "Can't write backup file: [Errno 28] No space left on device";
    assert_eq!(words_of(status, body), words);
    let body = br#"{"code": "restore_failed", "message": "Restore database must match backup"}"#;
    assert_eq!(words_of(status, body), "Restore database must match backup");
    assert_eq!(words_of(status, b""), "500 Internal Server Error");
    assert_eq!(words_of(status, &[b'x'; 9000]).len(), 500);
}

#[test]
fn apps_and_folders_are_for_supervisor_alone() {
    let password = SecretString::from("a key");
    let request = |installation| RestoreRequest {
        backup_id: "1f2e3d4c",
        password: Some(&password),
        installation,
        has_database: false,
        apps: vec!["core_ssh".to_owned()],
        folders: vec!["addons/local".to_owned()],
    };
    let alone = json!({"backup_id": "1f2e3d4c", "agent_id": "backup.local", "restore_database": false, "password": "a key"});
    assert_eq!(request(Installation::Alone).fields(), alone);
    let supervised = json!({
        "backup_id": "1f2e3d4c", "agent_id": "hassio.local", "restore_database": false, "password": "a key",
        "restore_addons": ["core_ssh"], "restore_folders": ["addons/local"],
    });
    assert_eq!(request(Installation::Supervised).fields(), supervised);
    assert!(!format!("{:?}", request(Installation::Alone)).contains("a key"));
}
