//! Names and files that are out of the ordinary.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::process::Stdio;

use super::{partials, setup, upload};
use crate::lab::{MIB, Sample};

#[tokio::test]
async fn download_writes_into_what_is_no_regular_file() {
    let (setup, _bucket) = setup().await;
    let sample = Sample::new("a1", "Nightly", 6 * MIB);
    upload(&setup, &sample).await.ended_with(0);
    let pipe = setup.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for force in [&[][..], &["--force"]] {
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        let arguments = ["download", "garage", "a1", "-o", pipe.to_str().unwrap()];
        setup.run(&[&arguments, force].concat()).await.ended_with(0);
        assert!(reader.join().unwrap() == sample.tar);
        let kind = fs::symlink_metadata(&pipe).unwrap().file_type();
        assert!(kind.is_fifo(), "the pipe was replaced");
    }
    assert_eq!(partials(&setup), 0);
    let ran = setup.run(&["download", "garage", "a1", "-o", "/dev/full"]);
    let ran = ran.await.ended_with(1);
    assert!(!ran.stderr.contains("--force"), "{}", ran.stderr);
    let kind = fs::metadata("/dev/full").unwrap().file_type();
    assert!(kind.is_char_device());
}

#[tokio::test]
async fn long_name_gets_a_shorter_file_name() {
    let (setup, bucket) = setup().await;
    for (id, length) in [("a1", 80), ("b2", 300)] {
        let sample = Sample::new(id, &"ä".repeat(length), 20_480);
        bucket.put_backup("", id, &sample).await;
        let folder = setup.path(id);
        fs::create_dir(&folder).unwrap();
        let mut command = setup.command();
        command
            .args(["download", "garage", id])
            .current_dir(&folder)
            .stdin(Stdio::null());
        setup.finish(command).await.ended_with(0);
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(Result::unwrap).collect();
        let [file] = &files[..] else {
            panic!("{files:?}");
        };
        assert!(file.file_name().as_bytes().len() <= 255);
        assert_eq!(file.path().extension().unwrap(), "tar");
        assert!(fs::read(file.path()).unwrap() == sample.tar);
        // A file with the longest name can be replaced.
        let path = file.path();
        let arguments = [
            "download",
            "garage",
            id,
            "--force",
            "-o",
            path.to_str().unwrap(),
        ];
        setup.run(&arguments).await.ended_with(0);
    }
}

#[tokio::test]
async fn characters_that_change_the_direction_of_text_are_not_printed() {
    let (setup, bucket) = setup().await;
    let sample = Sample::new("a1", "photo\u{202e}gpj\u{2066}.exe", 20_480);
    bucket.put_backup("", "one", &sample).await;
    let ran = setup.run(&["list"]).await.ended_with(0);
    assert!(
        ran.text().contains("photo\u{fffd}gpj\u{fffd}.exe"),
        "{}",
        ran.text()
    );
}
