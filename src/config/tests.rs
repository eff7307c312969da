//! Configurations as users write them, and the problems in them.

mod certificates;
mod supervisor;

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::*;
use crate::provider::Checksum;

fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    fs::write(&file, toml).unwrap();
    let environment = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Config::from_layers(
        Some(&file),
        &folder.path().join("options.json"),
        &environment,
    )
}

const GARAGE: &str = r#"
    [[locations]]
    provider = "garage"
    endpoint = "http://127.0.0.1:3900"
    region = "garage"
    bucket = "ha-backups"
    prefix = "/homeassistant/"
    access_key_id = "GK1"
    secret_access_key = "${GARAGE_SECRET}"
"#;

#[test]
fn without_configuration_one_location_is_in_a_directory() {
    let config = Config::from_layers(
        None,
        Path::new("/nonexistent/options.json"),
        &HashMap::from([
            ("USER".to_owned(), "ada".to_owned()),
            ("HOME".to_owned(), "/home/ada".to_owned()),
        ]),
    )
    .unwrap();
    assert_eq!(
        config.state_dir,
        Path::new("/home/ada/.local/state/s3-backup-agent")
    );
    assert_eq!(config.listen.socket, config.state_dir.join("agent.sock"));
    assert_eq!(config.locations.len(), 1);
    assert!(
        matches!(&config.locations[0].backend, Backend::Directory(path) if path.ends_with("s3-backup-agent/local"))
    );
}

#[test]
fn location_has_defaults_and_a_stable_id() {
    let config = load(GARAGE, &[("GARAGE_SECRET", " s3cr3t ")]).unwrap();
    let location = &config.locations[0];
    let Backend::S3(s3) = &location.backend else {
        panic!("not a bucket")
    };
    assert_eq!(s3.secret_access_key.expose(), "s3cr3t");
    assert_eq!(
        (
            location.prefix.as_str(),
            location.part_size,
            location.concurrency
        ),
        ("homeassistant", 8 << 20, 4)
    );
    assert_eq!(
        location.id,
        load(GARAGE, &[("GARAGE_SECRET", "other")])
            .unwrap()
            .locations[0]
            .id
    );
    assert_eq!(location.name, "ha-backups/homeassistant");
}

#[test]
fn checksum_is_the_providers_unless_set() {
    let checksum = |more: &str| {
        let Backend::S3(s3) = load(&format!("{GARAGE}{more}"), &[("GARAGE_SECRET", "x")])
            .unwrap()
            .locations
            .remove(0)
            .backend
        else {
            panic!("not a bucket")
        };
        s3.checksum.value
    };
    assert_eq!(checksum(""), Checksum::Crc64Nvme);
    assert_eq!(checksum("checksum = \"sha256\""), Checksum::Sha256);
    assert!(
        load(
            &format!("{GARAGE}checksum = \"md5\""),
            &[("GARAGE_SECRET", "x")]
        )
        .is_err()
    );
    let unknown = GARAGE.replace("provider = \"garage\"", "");
    let Backend::S3(s3) = load(&unknown, &[("GARAGE_SECRET", "x")])
        .unwrap()
        .locations
        .remove(0)
        .backend
    else {
        panic!("not a bucket")
    };
    assert_eq!(s3.checksum.value, Checksum::Sha256);
}

#[test]
fn later_layers_win() {
    let folder = tempfile::tempdir().unwrap();
    let (file, options) = (
        folder.path().join("agent.toml"),
        folder.path().join("options.json"),
    );
    fs::write(&file, "[log]\nlevel = \"warn\"\nformat = \"json\"\n").unwrap();
    fs::write(&options, r#"{"log": {"level": "debug"}}"#).unwrap();
    let of = |environment: &[(&str, &str)]| {
        let environment = environment
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        Config::from_layers(Some(&file), &options, &environment)
            .unwrap()
            .log
    };
    assert_eq!(
        (of(&[]).level, of(&[]).format),
        (Level::Debug, Format::Json)
    );
    assert_eq!(
        of(&[("S3_BACKUP_AGENT__LOG__LEVEL", "trace")]).level,
        Level::Trace
    );
}

#[test]
fn environment_variable_sets_a_key_of_a_location() {
    let variables = [
        ("GARAGE_SECRET", "x"),
        ("S3_BACKUP_AGENT__LOCATIONS__0__BUCKET", "elsewhere"),
    ];
    let config = load(GARAGE, &variables).unwrap();
    let Backend::S3(s3) = &config.locations[0].backend else {
        panic!("not a bucket")
    };
    assert_eq!(
        (s3.bucket.as_str(), s3.region.value.as_str()),
        ("elsewhere", "garage")
    );
}

#[test]
fn all_problems_are_reported_with_key_and_source() {
    let toml = r#"
        colour = "blue"
        bucket = "above its section"
        [log]
        level = "loud"
        [listen]
        tcp = "0.0.0.0:8099"
        [[locations]]
        endpoint = "s3.example.com"
        bukket = "typo"
        part_size = "1 MiB"
        access_key_id = "${NOT_SET}"
        secret_access_key = "hunter2hunter2"
        [[locations]]
        id = "No Dots.Please"
        state_dir = "/var/lib/agent"
        endpoint = "https://s3.example.com/?list-type=2"
        bucket = "s3://bucket/home"
        access_key_id = "a b"
        secret_access_key = "hunter2hunter2"
    "#;
    let problems = load(toml, &[("S3_BACKUP_AGENT__LOG__FORMAT", "xml")]).unwrap_err();
    let text = problems.to_string();
    for expected in [
        "colour: is not a known key",
        "bucket: is not a known key here: write it below the line [[locations]]",
        "locations[1].state_dir: is not a known key here: write it at the top of the file",
        "log.level: must be one of error, warn, info, debug, trace, not \"loud\"",
        "log.format: must be one of plain, json, not \"xml\" (from environment variable S3_BACKUP_AGENT__LOG__FORMAT)",
        "listen.tcp: needs a token",
        "listen.tcp: would send backups and the token unencrypted",
        "locations[0].endpoint: must be a URL that starts with https:// or http://, not \"s3.example.com\"",
        "locations[0].bukket: is not a known key: did you mean \"bucket\"?",
        "locations[0].bucket: is missing",
        "locations[0].part_size: must be a size from 5 MiB to 512 MiB, such as \"16 MiB\", not \"1 MiB\"",
        "locations[0].access_key_id: names the environment variable NOT_SET, which is not set",
        "locations[1].bucket: must be the name alone: write bucket = \"bucket\", and below it prefix = \"home\"",
        "locations[1].access_key_id: holds a space",
        "locations[1].endpoint: must be scheme, host, port and path only",
    ] {
        assert!(text.contains(expected), "{expected}\n--- in ---\n{text}");
    }
    assert!(text.contains("agent.toml"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn broken_file_is_one_problem_without_secrets() {
    let text = load("locations = [", &[]).unwrap_err().to_string();
    assert!(text.contains("agent.toml"), "{text}");
    for line in [
        "secret_access_key = \"hunter2hunter2",
        "secret_access_key = hunter2hunter2",
        "x = [\"hunter2hunter2",
    ] {
        let text = load(&format!("[[locations]]\n{line}\n"), &[])
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("line 2") && !text.contains("hunter2"),
            "{text}"
        );
    }
}

#[test]
fn section_with_one_bracket_is_shown_with_two() {
    let text = load(&GARAGE.replace("[[locations]]", "[locations]"), &[])
        .unwrap_err()
        .to_string();
    assert!(text.contains("write [[locations]] with two"), "{text}");
}

#[test]
fn typographic_quotation_mark_is_named_with_its_line() {
    for (quoted, mark) in [("“eu”", '“'), ("„eu“", '„'), ("’eu’", '’'), ("«eu»", '«')]
    {
        let toml = format!("# “Mine”\n[[locations]]\nname = \"“Mine”\"\nregion = {quoted}\n");
        let text = load(&toml, &[]).unwrap_err().to_string();
        let expected = format!("line 4 has the quotation mark {mark}");
        assert!(text.contains(&expected), "{expected}\n--- in ---\n{text}");
    }
}

#[test]
fn endpoint_that_is_no_url_is_named_with_its_fault() {
    for (endpoint, expected) in [
        (
            "http://nas.local:99999",
            "must have a number up to 65535 as its port",
        ),
        (
            "https://nas.local:39OO",
            "must have a number up to 65535 as its port",
        ),
        (
            "HTTP://192.168.1.300:3900",
            "is not a URL: invalid IPv4 address",
        ),
        ("https://my nas:3900", "is not a URL: invalid"),
        ("https://", "is not a URL: empty host"),
        (
            "ftp://nas.local",
            "must be a URL that starts with https:// or http://",
        ),
    ] {
        let toml = GARAGE.replace("http://127.0.0.1:3900", endpoint);
        let text = load(&toml, &[("GARAGE_SECRET", "x")])
            .unwrap_err()
            .to_string();
        assert!(text.contains(expected), "{expected}\n--- in ---\n{text}");
    }
}

#[test]
fn two_locations_with_one_id_are_a_problem() {
    let named = format!("{GARAGE}id = \"cellar\"\n");
    let toml = format!("{named}{}", named.replace("/homeassistant/", "attic"));
    let text = load(&toml, &[("GARAGE_SECRET", "x")])
        .unwrap_err()
        .to_string();
    assert!(text.contains("two locations with the id"), "{text}");
}

#[test]
fn two_locations_on_one_folder_are_a_problem() {
    let attic = GARAGE.replace("127.0.0.1:3900", "127.0.0.1:03900/");
    let attic = attic.replace("/homeassistant/", "homeassistant");
    for (toml, names) in [
        (
            format!("{GARAGE}id = \"cellar\"\n{attic}id = \"attic\"\n"),
            ["attic", "cellar"],
        ),
        (
            format!("{GARAGE}{attic}"),
            ["ha-backups/homeassistant", "ha-backups/homeassistant"],
        ),
    ] {
        let text = load(&toml, &[("GARAGE_SECRET", "x")])
            .unwrap_err()
            .to_string();
        let [second, first] = names;
        let expected = format!("locations: \"{second}\" has the same folder as \"{first}\", http");
        assert!(text.contains(&expected), "{expected}\n--- in ---\n{text}");
    }
}

#[test]
fn debug_output_hides_secrets() {
    let config = load(GARAGE, &[("GARAGE_SECRET", "hunter2hunter2")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn variable_expands_in_a_list() {
    let toml = format!("{GARAGE}\n[listen]\npage_from = [\"192.0.2.1\", \"${{LAPTOP}}\"]");
    let config = load(&toml, &[("GARAGE_SECRET", "x"), ("LAPTOP", "192.0.2.7")]).unwrap();
    assert_eq!(
        config.listen.page_from,
        ["192.0.2.1", "192.0.2.7"].map(|address| address.parse::<IpAddr>().unwrap())
    );
}

#[test]
fn every_setting_has_a_valid_default() {
    for (section, rows) in settings::TABLES {
        for row in rows {
            let settings::DefaultValue::Value(text) = row.default else {
                continue;
            };
            let is_valid = match row.kind {
                settings::SettingKind::Choice(choices) => choices.contains(&text),
                settings::SettingKind::Number(number) => number.parse(text).is_ok(),
                _ => true,
            };
            assert!(is_valid, "{section}.{}: {text}", row.name);
        }
    }
}

#[test]
fn number_outside_its_bounds_is_a_problem() {
    for (setting, values) in [
        ("part_size", ["\"4 MiB\"", "\"513 MiB\"", "\"8 TB\""]),
        ("concurrency", ["0", "17", "\"many\""]),
        ("idle_seconds", ["0", "3601", "-1"]),
        ("upload_limit", ["\"15 KiB\"", "1", "\"fast\""]),
        ("verify_every", ["\"367d\"", "\"0d\"", "\"1w\""]),
        ("verify_sample", ["0", "-1", "\"some\""]),
    ] {
        for value in values {
            let toml = format!("{GARAGE}{setting} = {value}\n");
            let text = load(&toml, &[("GARAGE_SECRET", "x")])
                .unwrap_err()
                .to_string();
            let expected = format!("locations[0].{setting}: must be ");
            assert!(text.contains(&expected), "{setting} = {value}: {text}");
        }
    }
    for line in [
        "upload_limit = 0",
        "verify_every = \"off\"",
        "verify_every = 0",
        "verify_sample = \"all\"",
        "download_limit = \"0 KiB/s\"",
    ] {
        let toml = format!("{GARAGE}{line}\n");
        load(&toml, &[("GARAGE_SECRET", "x")]).expect(line);
    }
}

#[test]
fn port_that_is_too_high_is_named() {
    let text = load("[listen]\ntcp = \"127.0.0.1:99999\"\n", &[])
        .unwrap_err()
        .to_string();
    let expected = "listen.tcp: has the port 99999, and the highest is 65535";
    assert!(text.contains(expected), "{text}");
}
