// A table that is printed row by row, and its verdict.

export class Report {
  failures = 0;
  skipped = 0;

  section(title, ...columns) {
    console.log(`\n${title}`);
    this.#print(["", ...columns, "limit", ""]);
  }

  /** One compared thing. Cells are texts or numbers; `good` decides the verdict. */
  row(name, cells, limit, good) {
    if (!good) this.failures++;
    this.#print([name, ...cells, limit, good ? "ok" : "FAILED"]);
  }

  skip(name, reason) {
    this.skipped++;
    this.#print([name, `skipped: ${reason}`]);
  }

  error(name, error) {
    this.failures++;
    this.#print([name, `FAILED: ${error.message}`]);
  }

  /** Runs one comparison; whatever it throws is a failure of that row alone. */
  async attempt(name, compare) {
    try {
      await compare();
    } catch (error) {
      this.error(name, error);
    }
  }

  #print([name, ...cells]) {
    const text = (cell) => Number.isInteger(cell) || typeof cell !== "number" ? String(cell) : cell.toPrecision(5);
    console.log(`  ${name.padEnd(30)} ${cells.map((cell) => text(cell).padStart(11)).join(" ")}`.trimEnd());
  }
}
