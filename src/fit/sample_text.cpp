#include "fit/sample_text.h"

namespace plimsoll {

// Dense and plain paragraphs in turns: what is hard to foresee is where rounding shows (what is
// measured grows with more than the square of the entropy of a model's distributions), and over these
// it is about as large as over manuals and encyclopaedias, SmolLM2's 3 nats.
const std::string_view sample_text =
    R"(The harbour master keeps two books. In the first she writes what every ship says of itself: its name, the port it left, what it carries and how deep it lies in the water. In the second she writes what she has seen. Most days the two agree, and nobody asks for either. On the days when they do not, the second book is the one that people come to read.

Options given before the first file name apply to every archive that follows; those behind one affect that archive alone. Compression levels above seven need more memory than small machines have, so the daemon falls back to six unless force is set, and notes it in the journal. Signals received while a block is being written are held until its checksum is complete. See also the section on recovery, which assumes that at least one of the three headers survived.

How to make bread without kneading it:

1. Mix 400 g of flour, 8 g of salt and 1 g of dry yeast in a bowl.
2. Add 300 ml of water and stir until no dry flour is left.
3. Cover the bowl and leave it alone for twelve to eighteen hours.

Light takes about eight minutes and twenty seconds from the sun to the earth, a little more than one second from the moon, and four years from the nearest star. When we look at the sky we therefore see the past, and each point of it at another time.

Dear Ms Okafor, thank you for your letter of 3 March. We have looked at the meter again and you are right: the figure of 4,812 units belongs to your neighbour. We are sorry for the mistake and have credited the difference. If anything else is unclear, please write to us or call between nine and five.

To replace a bicycle's bottom bracket, remove both cranks, unscrew the left cup (right-hand thread on English frames, anticlockwise) and then the fixed cup, which turns the other way. Clean the shell with paraffin. Grease everything except tapers. Torque: 50 Nm, or as firmly as a grown person can manage using a spanner of thirty centimetres.

def median(values):
    """Return the middle of the values, or the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2

Question: A train leaves at 14:20 and needs 95 minutes. When does it arrive?
Answer: 95 minutes are one hour and 35 minutes. 14:20 plus one hour is 15:20, and 35 minutes later it is 15:55. The train arrives at 15:55.
)";

}  // namespace plimsoll
