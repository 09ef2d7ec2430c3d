//! Places, times, and what is found in a directory.

use super::*;

#[test]
fn places_as_they_are_written() {
    let check = |text: &str, expected: Result<&str, &str>| match (text.parse::<Place>(), expected) {
        (Ok(place), Ok(expected)) => assert_eq!(place.to_string(), expected),
        (Err(problem), Err(part)) => assert!(problem.contains(part), "{problem}"),
        (found, _) => panic!("{text}: {found:?}"),
    };
    check("a/b", Ok("a/b"));
    check("s3://b/org/data/", Ok("s3://b/org/data"));
    check("s3://b", Ok("s3://b/"));
    check("s3:///x", Err("no bucket"));
    check("gs://b/x", Err("gs:// is not known"));
    check("", Err("is empty"));
}

#[test]
fn times_as_they_are_written() {
    let check = |text: &str, expected: Option<i64>| {
        let found = text.parse::<Moment>().ok().map(|moment| moment.resolve(1_795_303_367_000));
        assert_eq!(found, expected, "{text}");
    };
    check("2026-11-21T23:22:47Z", Some(1_795_303_367_000));
    check("2026-11-21T23:22:47.5+00:00", Some(1_795_303_367_500));
    check("2026-11-21 23:22:47", Some(1_795_303_367_000));
    check("2026-11-21 23:22", Some(1_795_303_320_000));
    check("2026-11-21", Some(1_795_219_200_000));
    check("1795303367", Some(1_795_303_367_000));
    check("now", Some(1_795_303_367_000));
    check("1m30s", Some(1_795_303_277_000));
    check("yesterday", None);
    check("17", None);
}

#[test]
fn keys_tell_the_time() {
    let window = Window::around(1_795_303_367_000, 1_795_303_400_999, 5000);
    assert_eq!(window, Window { from: 1_795_303_362, to: 1_795_303_405 });
    let check = |key: &str, expected: bool| assert_eq!(window.may_have(key), expected, "{key}");
    check("1795303367/w0-1.parquet", true);
    check("1795303361/w0-1.parquet", false);
    check("1795303406/1795303367-5c0e.log", false);
    check("org/1795303406/a.log", false);
    check("1795303406/", false);
    check("1795303406", true);
    check("copied.parquet", true);
    assert!(Window::ALL.may_have("0000000000/a.log"));
}

#[test]
fn a_place_below_another() {
    let check = |above: &str, below: &str, expected: bool| {
        let [above, below]: [Place; 2] = [above, below].map(|text| text.parse().unwrap());
        assert_eq!(above.is_above(&below), expected, "{above} {below}");
    };
    check("s3://b/data", "s3://b/data/parquet", true);
    check("s3://b/data/", "s3://b/data/parquet/", true);
    check("s3://b", "s3://b/data", true);
    check("s3://b/data", "s3://b/data", false);
    check("s3://b/data", "s3://b/database", false);
    check("s3://b/data/parquet", "s3://b/data", false);
    check("s3://a/data", "s3://b/data/parquet", false);
    check("data", "s3://data/x", false);
    check("data", "./data//parquet", true);
    check("data", "data/", false);
    check("data", "database", false);
}

#[tokio::test]
async fn a_directory_gives_the_objects_of_a_range() {
    let dir = tempfile::tempdir().unwrap();
    for name in
        ["1795303367/b.parquet", "1795303367/a.log", "1795303360/a.log.gz", "notes.txt", "x/c.parquet"]
    {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
    let place = Place::Local(dir.path().to_owned());
    let mut objects = Objects::look(&place, Window { from: 1_795_303_365, to: 1_795_303_370 }, None).unwrap();
    let mut names = Vec::new();
    while let Some(found) = objects.next().await.unwrap() {
        let bytes = found.get(None).await.unwrap();
        assert!(found.name.ends_with(std::str::from_utf8(&bytes).unwrap()));
        names.push(String::from_utf8(bytes.to_vec()).unwrap());
    }
    assert_eq!(names, ["1795303367/a.log", "1795303367/b.parquet", "x/c.parquet"]);
    assert_eq!(objects.passed_over, 1);
    let file = Place::Local(dir.path().join("notes.txt"));
    assert!(Objects::look(&file, Window::ALL, None).unwrap().next().await.unwrap().is_some());
    let problem = Objects::look(&Place::Local(dir.path().join("no")), Window::ALL, None).unwrap_err();
    assert!(problem.contains("cannot read"), "{problem}");
}
