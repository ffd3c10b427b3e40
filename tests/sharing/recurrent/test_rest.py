from torch import nn

from recurrent_networks import Net, cells, last, mean, some, states
from unmask.sharing.chain import chain
from unmask.sharing.recurrent.rest import wanted


def test_what_the_rest_asks_for():
    def asked(read):
        model = chain(Net(nn.LSTM, read, batch_first=True))
        place = next(i for i, node in enumerate(model.nodes) if node.target == "rnn")
        found = wanted(model.nodes[place], model.parts["rnn"], 9)
        return found.times, found.output, found.cells

    assert asked(last) == ((8,), False, False)
    assert asked(mean) == (tuple(range(9)), False, False)
    assert asked(states) == ((), True, False)
    assert asked(cells) == ((), False, True)
    assert asked(some) == ((2, 6), True, False)
