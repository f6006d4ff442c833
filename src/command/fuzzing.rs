//! What is typed, and what a server answers, under any bytes: nothing of it drives a terminal.

use super::Server;
use super::explain::shown;
use super::table::{Head, printable, table, width};
use super::units;
use crate::model::document::Map;

/// Where a server is, as it is typed: what is shown of it leads to the same place.
pub fn server_url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(server) = text.parse::<Server>() else { return };
    let again = server.to_string().parse::<Server>();
    assert_eq!(again.as_ref(), Ok(&server), "{server}");
    let authority = text.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next());
    let port = authority.and_then(|authority| authority.rsplit_once(':')).map(|(_, port)| port);
    if let Some(port) = port.filter(|port| !port.contains(']') && !text.starts_with("unix:")) {
        let number = port.parse::<u16>();
        assert!(number.is_ok(), "{text}: {server}");
        assert!(server.to_string().contains(&format!(":{}", number.unwrap_or_default())), "{text}: {server}");
    }
}

/// Cells from anywhere: lines and tabs of the input. What a terminal would obey is spelled out, and columns
/// stand under each other.
pub fn terminal(bytes: &[u8]) {
    const HEADS: [Head; 3] = [
        Head { title: "NAME", right: false },
        Head { title: "CPU", right: true },
        Head { title: "NODE", right: false },
    ];
    let text = String::from_utf8_lossy(bytes);
    let cell = |row: &str, at: usize| row.split('\t').nth(at).unwrap_or_default().to_owned();
    let rows: Vec<Vec<String>> =
        text.split('\n').map(|row| vec![cell(row, 0), cell(row, 1), cell(row, 2)]).collect();
    let drawn = table(&HEADS, &rows, true);
    assert_eq!(drawn.matches('\n').count(), rows.len() + 1);
    assert!(drawn.chars().all(|c| c == '\n' || !c.is_control()));
    let most = rows.iter().flatten().map(|cell| width(&printable(cell))).sum::<usize>();
    assert!(drawn.lines().all(|line| width(line) <= most + 3 * 10), "a line wider than all that is in it");
    let numbers = bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(f64::from_le_bytes);
    for number in numbers {
        for shown in [units::cores, units::memory, units::per_second, units::count, units::age, units::lost] {
            assert!(!shown(number).is_empty());
        }
    }
}

/// The map of a node, as `explain` prints it.
pub fn map_document(bytes: &[u8]) {
    let Ok(map) = serde_json::from_slice::<Map>(bytes) else { return };
    for text in shown(&map) {
        assert!(text.ends_with('\n') && text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }
}
