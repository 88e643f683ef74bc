//! The sections of a region, and the words of a consumer's page.

use crate::drawing::{Kind, Picture, area, lines, number, size};
use shm2::layout::{
    ARENA_OFFSET, CELL_BYTES, CELLS, GRANULE, Header, LEASES, Lease, PAGE_USED, PAGES, PAGES_OFFSET, Page, RING_OFFSET,
    SECTION,
};
use std::mem::offset_of;

/// The sections with their offsets, and who writes them.
pub fn region() -> String {
    let header = size_of::<Header>() as u64;
    let sections = [
        (0, Kind::Producer, "header", format!("{} of {} used", size(header), size(SECTION)), 58.0),
        (RING_OFFSET, Kind::Producer, "ready ring", format!("{} cells of {}", number(CELLS), size(CELL_BYTES)), 58.0),
        (PAGES_OFFSET, Kind::Consumer, "consumer pages", format!("{PAGES} pages, {} apart", size(SECTION)), 96.0),
        (ARENA_OFFSET, Kind::Producer, "arena", format!("frames, in units of {}", size(GRANULE)), 130.0),
    ];
    let mut picture = Picture::new("The sections of a region", 476.0);
    picture.text(14.0, 24.0, "start", "b", "A region: one file");
    picture.note(14.0, 46.0, "offset");
    picture.note(330.0, 46.0, "written by");
    let mut y = 56.0;
    for (offset, kind, name, content, height) in sections {
        let place = area(92.0, y, 232.0, height);
        picture.note(14.0, y + 14.0, number(offset));
        picture.card(place, kind, &[name.to_owned(), content]);
        let writer = if kind == Kind::Consumer { "its consumer" } else { "producer" };
        picture.note(330.0, place.middle().1 + 4.0, writer);
        y = place.bottom();
    }
    picture.note(14.0, y + 14.0, "file size");
    for (row, text) in [
        format!("Of each page {} are used, and only {} of the header:", size(PAGE_USED), size(header)),
        "the rest has no memory. The size of the file alone".to_owned(),
        "determines all offsets, so no peer's word is needed.".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        picture.note(14.0, y + 33.0 + 16.0 * row as f64, text);
    }
    picture.finish()
}

/// The words of a consumer's page that matter to the producer.
pub fn page() -> String {
    let rows = [
        (offset_of!(Page, cursor), "cursor", "next frame it will take".to_owned()),
        (offset_of!(Page, claimed), "claimed", "whether it reads, holds, or is gone".to_owned()),
        (offset_of!(Page, leases), "leases", format!("{LEASES} entries of {}: frames held", size(lease_bytes()))),
        (offset_of!(Page, ticket), "ticket", "changes before each sleep".to_owned()),
        (offset_of!(Page, space), "space", "a blocked producer sleeps here".to_owned()),
        (offset_of!(Page, received), "received ...", "counters, for shm2 top".to_owned()),
        (offset_of!(Page, heartbeat), "heartbeat", "where no lock shows life".to_owned()),
    ];
    let mut picture = Picture::new("A consumer's page", 46.0 + 32.0 * rows.len() as f64 + 12.0);
    picture.text(14.0, 24.0, "start", "b", "A consumer's page");
    picture.text(406.0, 24.0, "end", "s", format!("{} of {}", size(size_of::<Page>() as u64), size(PAGE_USED)));
    for (row, (offset, name, meaning)) in rows.into_iter().enumerate() {
        let y = 40.0 + 32.0 * row as f64;
        picture.text(52.0, y + 19.0, "end", "s", number(offset as u64));
        picture.card(area(60.0, y, 110.0, 28.0), Kind::Consumer, &lines([name]));
        picture.note(178.0, y + 19.0, meaning);
    }
    picture.finish()
}

const fn lease_bytes() -> u64 {
    size_of::<Lease>() as u64
}
