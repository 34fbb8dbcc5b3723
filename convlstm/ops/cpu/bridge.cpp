// The kernels as operations of MLX's graph.
//
// Python passes the addresses of its mlx.core.array objects. Each contains an mlx::core::array, at the offset that nanobind,
// which made the binding, stores behind the object's head. library.py checks this in a separate process before it uses it.
#include <algorithm>
#include <cstring>
#include <stdexcept>

// Not mlx/mlx.h, which takes longer to compile than all of this.
#include "mlx/array.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/primitives.h"
#include "mlx/transforms.h"

namespace mx = mlx::core;

namespace {

using Function = void (*)(const float* const*, float* const*, const int64_t*);

mx::array& array_in(char* object, int head) {
    int32_t offset;
    uint32_t flags;
    std::memcpy(&offset, object + head, 4);
    std::memcpy(&flags, object + head + 4, 4);
    char* place = object + offset;
    if (!(flags & 4)) std::memcpy(&place, place, sizeof(place));
    return *reinterpret_cast<mx::array*>(place);
}

// Returns true if nobody needs an array after an operation with some number of outputs. Each output refers to the inputs on
// its own, so that `is_donatable` is true for a single one only.
bool free_after(const mx::array& input, size_t outputs) {
    static_assert(sizeof(mx::array) == sizeof(std::shared_ptr<void>));
    const auto& described = reinterpret_cast<const std::shared_ptr<void>&>(input);
    const auto& data = input.data_shared_ptr();
    return described.use_count() <= int64_t(outputs) && data.use_count() == 1 && data->is_owned();
}

class Kernel : public mx::Primitive {
   public:
    // reused[i] is the input whose memory output i may take over, or -1.
    Kernel(mx::Stream stream, Function function, std::vector<int64_t> numbers, std::vector<int64_t> reused)
        : Primitive(stream), function(function), numbers(std::move(numbers)), reused(std::move(reused)) {}

    void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
        std::vector<const float*> in;
        std::vector<float*> out;
        for (const auto& input : inputs) {
            if (!input.flags().row_contiguous || input.dtype() != mx::float32)
                throw std::runtime_error("[convlstm] a kernel needs contiguous float32 arrays.");
            in.push_back(input.data<float>());
        }
        // MLX holds the inputs of operations that have not run yet, and then their memory could not be taken over.
        if (std::any_of(reused.begin(), reused.end(), [](int64_t from) { return from >= 0; })) mx::synchronize(stream());
        for (size_t i = 0; i < outputs.size(); i++) {
            const int64_t from = reused[i];
            if (from >= 0 && free_after(inputs[from], outputs.size())) outputs[i].copy_shared_buffer(inputs[from]);
            else outputs[i].set_data(mx::allocator::malloc(outputs[i].nbytes()));
            out.push_back(outputs[i].data<float>());
        }
        auto& encoder = mx::cpu::get_command_encoder(stream());
        encoder.dispatch([f = function, in = std::move(in), out = std::move(out), n = numbers] { f(in.data(), out.data(), n.data()); });
        // MLX allocates memory for later operations while earlier ones run. These outputs are large, so wait for each one.
        mx::synchronize(stream());
    }
    void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
        throw std::runtime_error("[convlstm] the kernels run on the CPU.");
    }
    bool is_equivalent(const mx::Primitive& other) const override {
        const auto& o = static_cast<const Kernel&>(other);
        return function == o.function && numbers == o.numbers;
    }
    const char* name() const override { return "ConvLSTMKernel"; }

   private:
    Function function;
    std::vector<int64_t> numbers, reused;
};

thread_local std::string error;

}  // namespace

extern "C" {

const char* convlstm_error() { return error.c_str(); }

// Returns 1 if a Python object contains an array of this shape, else 0.
int convlstm_finds(char* object, int head, const int64_t* shape, int dimensions) {
    const mx::array& a = array_in(object, head);
    if (int(a.ndim()) != dimensions || a.dtype() != mx::float32) return 0;
    for (int d = 0; d < dimensions; d++)
        if (a.shape(d) != shape[d]) return 0;
    return 1;
}

// Stores the results of function(inputs, outputs, numbers) in the Python objects `outputs`, as float32 arrays of the given
// shapes, which follow each other in `shapes`. Returns 0, or 1 after an error, which convlstm_error describes.
int convlstm_call(Function function, int head, char** inputs, int input_count, char** outputs, const int64_t* shapes,
                  const int64_t* dimensions, const int64_t* reused, int output_count, const int64_t* numbers, int number_count) {
    try {
        std::vector<mx::array> in;
        for (int i = 0; i < input_count; i++) in.push_back(array_in(inputs[i], head));
        std::vector<mx::Shape> out;
        for (int i = 0; i < output_count; i++) {
            mx::Shape shape;
            for (int d = 0; d < dimensions[i]; d++) shape.push_back(static_cast<mx::ShapeElem>(*shapes++));
            out.push_back(std::move(shape));
        }
        auto kernel = std::make_shared<Kernel>(mx::default_stream(mx::Device(mx::Device::cpu)), function,
                                               std::vector<int64_t>(numbers, numbers + number_count),
                                               std::vector<int64_t>(reused, reused + output_count));
        auto results = mx::array::make_arrays(std::move(out), std::vector<mx::Dtype>(output_count, mx::float32), kernel, in);
        for (int i = 0; i < output_count; i++) array_in(outputs[i], head) = results[i];
        return 0;
    } catch (const std::exception& e) {
        error = e.what();
        return 1;
    }
}
}
