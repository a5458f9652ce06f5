// In which order workgroups take the tiles of a product: RASTER rows of tiles are walked together, column by column, for the sake of the second-level cache.
const uint RASTER = 8;

// The tile's row and column.
uvec2 tileOf(uint tile, uint tilesM, uint tilesN) {
    uint first = tile / (RASTER * tilesN) * RASTER, rows = min(tilesM - first, RASTER), inBand = tile % (RASTER * tilesN);
    return uvec2(first + inBand % rows, inBand / rows);
}

// The number of the tile in a row and a column.
uint tileAt(uint row, uint column, uint tilesM, uint tilesN) {
    uint first = row / RASTER * RASTER;
    return first * tilesN + column * min(tilesM - first, RASTER) + row - first;
}
