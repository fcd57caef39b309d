"""Files in, frames out: whatever packs a plane of pixels is unpacked here."""
