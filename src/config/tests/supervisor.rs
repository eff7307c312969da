//! Configurations of the app, under Supervisor.

use super::*;

/// Loads the app's options as under Supervisor.
fn options(json: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let options = folder.path().join("options.json");
    fs::write(&options, json).unwrap();
    let environment = HashMap::from([(
        "SUPERVISOR_TOKEN".to_owned(),
        "a token of Supervisor".to_owned(),
    )]);
    Config::from_layers(None, &options, &environment).unwrap()
}

fn keys(config: &Config) -> Vec<&str> {
    config
        .problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect()
}

#[test]
fn under_supervisor_paths_are_those_of_an_app() {
    let config = options(r#"{"log": {"level": "info"}, "locations": []}"#);
    assert_eq!(config.problems, []);
    assert_eq!(config.state_dir, Path::new("/data"));
    assert_eq!(
        config.listen.socket,
        Path::new("/share/s3_backup_agent/agent.sock")
    );
    assert_eq!(
        config.listen.token_file.as_deref(),
        Some(Path::new("/data/token"))
    );
    let page = config.listen.page.unwrap();
    assert_eq!(
        (page.address, page.tls.is_some()),
        ("0.0.0.0:8099".parse().unwrap(), false)
    );
    assert_eq!(
        config.listen.page_from,
        ["172.30.32.2".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(
        config.locations,
        [],
        "no backup may end up on the machine that it is to survive"
    );
    assert_eq!(config.supervisor.unwrap().host, "supervisor");
}

#[test]
fn under_supervisor_the_first_location_of_a_folder_stays() {
    let location = |id: &str| {
        format!(
            r#"{{"id": "{id}", "provider": "garage", "endpoint": "http://127.0.0.1:3900", "bucket": "backups",
            "access_key_id": "GK1", "secret_access_key": "s3cr3t"}}"#
        )
    };
    let (cellar, attic) = (location("cellar"), location("attic"));
    let config = options(&format!(r#"{{"locations": [{cellar}, {attic}]}}"#));
    let ids: Vec<_> = config
        .locations
        .iter()
        .map(|location| &location.id)
        .collect();
    assert_eq!(ids, ["cellar"]);
    let [problem] = &config.problems[..] else {
        panic!("{:?}", config.problems)
    };
    let expected = "\"attic\" has the same folder as \"cellar\"";
    assert!(problem.message.contains(expected), "{problem}");
}

#[test]
fn under_supervisor_problems_are_named_and_skipped() {
    let good = r#"{"name": "Good", "provider": "garage", "endpoint": "http://127.0.0.1:3900", "bucket": "backups",
        "region": "", "access_key_id": "GK1", "secret_access_key": "s3cr3t", "part_size": null}"#;
    for (wrong, expected) in [
        (good.replace("backups", "No Bucket"), "locations[1].bucket"),
        (good.replace("garage", "garages"), "locations[1].provider"),
        (good.replace("s3cr3t", ""), "locations[1].secret_access_key"),
        (good.replace("\"name\"", "\"nmae\""), "locations[1].nmae"),
        (good.to_owned(), "locations"),
        ("5".to_owned(), "locations[1]"),
    ] {
        let config = options(&format!(r#"{{"locations": [{good}, {wrong}]}}"#));
        assert_eq!(config.locations.len(), 1, "{wrong}");
        assert_eq!(config.locations[0].name, "Good");
        assert!(
            keys(&config).iter().any(|key| key.contains(expected)),
            "{wrong}: {:?}",
            config.problems
        );
    }
    let config =
        options(r#"{"log": {"level": "loud"}, "listen": {"token": "short", "tcp": "0.0.0.0:1"}}"#);
    assert_eq!(keys(&config), ["listen.token", "listen.tcp", "log.level"]);
    assert_eq!(
        (config.log.level, config.listen.token.is_none()),
        (Level::Info, true)
    );
    assert!(config.listen.tcp.is_none(), "it would listen without TLS");
}

#[test]
fn under_supervisor_unreadable_options_are_a_problem() {
    for json in ["", "{", "[]", "5", r#"{"locations": "none"}"#, "\u{0}"] {
        let config = options(json);
        assert_eq!(
            (config.problems.len(), config.locations.len()),
            (1, 0),
            "{json}: {:?}",
            config.problems
        );
    }
    // A directory exists and is unreadable as a file, like options on a failing disk.
    let folder = tempfile::tempdir().unwrap();
    let (_, problems) = layers::merged(None, folder.path(), &HashMap::new());
    assert_eq!(problems.len(), 1, "{problems:?}");
    let (_, problems) = layers::merged(None, &folder.path().join("options.json"), &HashMap::new());
    assert_eq!(problems, []);
}

#[test]
fn secret_in_an_endpoint_is_not_reported() {
    for endpoint in [
        "https://me:planted@s3.example.com",
        "https://s3.example.com/?signature=planted",
    ] {
        let config = options(&format!(
            r#"{{"locations": [{{"name": "X", "provider": "other", "endpoint": "{endpoint}", "bucket": "backups",
            "access_key_id": "AK1", "secret_access_key": "s3cr3t"}}]}}"#
        ));
        assert_eq!((config.problems.len(), config.locations.len()), (1, 0));
        let said = format!("{:?} {:?}", config.written, config.problems);
        assert!(
            said.contains("locations[0].endpoint") && !said.contains("planted"),
            "{said}"
        );
    }
}
