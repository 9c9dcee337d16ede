import sys, torch; sys.path.insert(0, sys.argv[1]); import block
network = block.Network(); optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
for images, labels in torch.utils.data.DataLoader([(torch.randn(1, 28, 28) + c, c) for c in list(range(10)) * 20], 20, shuffle=True):
    optimizer.zero_grad(); loss = torch.nn.functional.cross_entropy(network(images), labels); loss.backward(); optimizer.step()
print(f"loss after one epoch: {loss.item():.3f}"); sys.exit(not loss < 2.3)
